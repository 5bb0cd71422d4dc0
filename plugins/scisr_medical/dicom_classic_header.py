"""One frame of an enhanced multi-frame image, said in the words of a classic image.

The elements of the functional groups that hold for the frame come to the top of the header; where the two kinds of
object have different names for one thing (PS3.3 C.8.13 and C.8.15 against C.8.3 and C.8.2), the classic one is taken.
"""

from __future__ import annotations

from typing import Any

from scisr_medical.dicom_encoding import ds_string
from scisr_medical.dicom_functional_groups import frame_groups

SAME, PIXELS = "", "PixelMeasuresSequence"

_NAMES: dict[str, dict[str, str]] = {
    PIXELS: dict.fromkeys(("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"), SAME),
    "PlanePositionSequence": {"ImagePositionPatient": SAME},
    "PlaneOrientationSequence": {"ImageOrientationPatient": SAME},
    "PixelValueTransformationSequence": dict.fromkeys(
        ("RescaleSlope", "RescaleIntercept", "RescaleType"), SAME
    ),
    "FrameVOILUTSequence": dict.fromkeys(
        ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"), SAME
    ),
    "FrameContentSequence": {
        "FrameAcquisitionNumber": "AcquisitionNumber",
        "TemporalPositionIndex": "TemporalPositionIdentifier",
        "FrameAcquisitionDuration": "AcquisitionDuration",
    },
    "FrameAnatomySequence": {"AnatomicRegionSequence": SAME, "FrameLaterality": "ImageLaterality"},
    "CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": "TriggerTime"},
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRTimingAndRelatedParametersSequence": dict.fromkeys(
        ("RepetitionTime", "FlipAngle", "EchoTrainLength"), SAME
    ),
    "MRAveragesSequence": {"NumberOfAverages": SAME},
    "MRFOVGeometrySequence": dict.fromkeys(("PercentSampling", "PercentPhaseFieldOfView"), SAME),
    "MRImagingModifierSequence": {"PixelBandwidth": SAME, "TransmitterFrequency": "ImagingFrequency"},
    "MRReceiveCoilSequence": {"ReceiveCoilName": SAME},
    "MRTransmitCoilSequence": {"TransmitCoilName": SAME},
    "MRModifierSequence": {"InversionTimes": SAME},
    "MRDiffusionSequence": {"DiffusionBValue": SAME, "DiffusionDirectionality": SAME},
    "CTExposureSequence": {
        "ExposureTimeInms": "ExposureTime",
        "XRayTubeCurrentInmA": "XRayTubeCurrent",
        "ExposureInmAs": "Exposure",
        "CTDIvol": SAME,
    },
    "CTXRayDetailsSequence": {"KVP": SAME, "FocalSpots": SAME, "FilterType": SAME},
    "CTReconstructionSequence": {"ConvolutionKernel": SAME, "ReconstructionDiameter": SAME},
    "CTAcquisitionDetailsSequence": dict.fromkeys(
        ("RotationDirection", "GantryDetectorTilt", "TableHeight", "DataCollectionDiameter"), SAME
    ),
    "CTGeometrySequence": {"DistanceSourceToDetector": SAME},
}
"""Functional group -> its elements -> their names in a classic image."""
_WHOLE = ("ReferencedImageSequence", "RealWorldValueMappingSequence")
"""Groups that stand in a classic image as they are."""


def classic_header(dataset: Any, frame: int) -> Any:
    """The header of one frame, as a new dataset that shares its elements with `dataset`.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Of an enhanced multi-frame object.
    frame : int
        From 0.
    """
    from pydicom.dataset import Dataset

    out, groups = Dataset(), frame_groups(dataset, frame)
    for tag in dataset.keys():  # noqa: SIM118  (raw elements stay raw: the next reader decodes them)
        out[tag] = dataset.get_item(tag)
    for kind in ("PerFrame", "Shared"):
        for item in (groups.get(f"Unassigned{kind}ConvertedAttributesSequence") or [])[:1]:
            for element in item:
                out.add(element)
    for group, names in _NAMES.items():
        for item in (groups.get(group) or [])[:1]:
            for old, new in names.items():
                _put(out, new or old, item.get(old))
    for group in _WHOLE:
        if group in groups:
            out.add(groups[group])
    _times(out, groups)
    _diffusion(out, groups)
    if "PixelPresentation" in out:
        del out["PixelPresentation"]  # colours of a palette are an enhanced image's
    if str(out.get("Modality")) == "MR":
        _pulse_sequence(out, groups)
    return out


def _put(target: Any, keyword: str, value: Any) -> None:
    """Set an element, with numbers as the element's own kind of text."""
    from pydicom.datadict import dictionary_VR

    if value is None or value == "":
        return
    vr = dictionary_VR(keyword)
    many = isinstance(value, list | tuple) or type(value).__name__ == "MultiValue"
    if vr == "DS":
        value = [ds_string(v) for v in value] if many else ds_string(value)
    elif vr == "IS":
        value = round(float(value[0] if many else value))
    setattr(target, keyword, value)


def _item(groups: Any, name: str) -> Any:
    from pydicom.dataset import Dataset

    return (groups.get(name) or [Dataset()])[0]


def _times(out: Any, groups: Any) -> None:
    """A frame's date and time, where it has its own, is that of the classic image's acquisition."""
    when = str(_item(groups, "FrameContentSequence").get("FrameAcquisitionDateTime") or "")
    when = when or str(out.get("AcquisitionDateTime") or "")
    if len(when) >= 14:
        out.AcquisitionDate, out.AcquisitionTime = when[:8], when[8:].split("+")[0].split("-")[0]


def _diffusion(out: Any, groups: Any) -> None:
    for item in (_item(groups, "MRDiffusionSequence").get("DiffusionGradientDirectionSequence") or [])[:1]:
        _put(out, "DiffusionGradientOrientation", item.get("DiffusionGradientOrientation"))


def _pulse_sequence(out: Any, groups: Any) -> None:
    """ScanningSequence, SequenceVariant, ScanOptions and AcquisitionMatrix, from what the enhanced header says."""
    modifier, fov = _item(groups, "MRModifierSequence"), _item(groups, "MRFOVGeometrySequence")

    def on(dataset: Any, keyword: str) -> bool:
        return str(dataset.get(keyword) or "NONE") not in ("NONE", "NO", "SINGLE")

    echo = str(out.get("EchoPulseSequence") or "")
    scanning = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}.get(echo, [])
    scanning += ["EP"] * on(out, "EchoPlanarPulseSequence") + ["IR"] * on(modifier, "InversionRecovery")
    if "ScanningSequence" not in out:
        out.ScanningSequence = scanning or ["RM"]
    if "SequenceVariant" not in out:
        variant = ["SK"] * on(out, "SegmentedKSpaceTraversal") + ["SS"] * on(out, "SteadyStatePulseSequence")
        variant += ["MTC"] * on(out, "MagnetizationTransfer") + ["SP"] * on(modifier, "Spoiling")
        out.SequenceVariant = variant + ["OSP"] * on(out, "OversamplingPhase") or ["NONE"]
    if "RepetitionTime" not in out and "EP" not in out.ScanningSequence:
        out.RepetitionTime = None
    if "SequenceName" not in out and out.get("PulseSequenceName"):
        out.SequenceName = str(out.PulseSequenceName)[:16]
    if "ScanOptions" not in out:
        options = ["FC"] * on(modifier, "FlowCompensation") + ["PFP"] * on(modifier, "PartialFourier")
        out.ScanOptions = options or None
    along = str(fov.get("InPlanePhaseEncodingDirection") or "")
    if along:
        out.InPlanePhaseEncodingDirection = "COL" if along == "COLUMN" else along
    frequency, phase = (
        int(fov.get(f"MRAcquisition{kind}") or 0)
        for kind in ("FrequencyEncodingSteps", "PhaseEncodingStepsInPlane")
    )
    if frequency and phase and along in ("ROW", "COLUMN"):
        out.AcquisitionMatrix = [frequency, 0, 0, phase] if along == "ROW" else [0, frequency, phase, 0]
