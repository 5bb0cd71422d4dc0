"""What workers of a run will need, to be imported once before they are forked; a matter of speed alone."""

from __future__ import annotations

from sciSR.workflow.pipelines.work import Task

ALWAYS = (
    "torch",
    "numpy.random",
    "scipy.ndimage",
    "scisr_medical.dicom_listing",
    "sciSR.api",
    "sciSR.workflow.run",
    "sciSR.workflow.pipelines.running",
    "sciSR.workflow.stack_names",
)
"""By every worker."""

_BY_STEP = {
    "upscale": (
        "sciSR.inference.choose",
        "sciSR.models.files",
        "sciSR.models.user_models",
        "sciSR.models.ecbsr",
        "sciSR.forward.operator",
        "safetensors.torch",
    ),
    "isotropic": ("sciSR.throughplane",),
    "verify": ("sciSR.verify.checking", "sciSR.verify.measuring", "sciSR.verify.companion"),
    "report": (
        "sciSR.report.page",
        "sciSR.report.page_render",
        "sciSR.report.page_card",
        "sciSR.report.page_curves",
        "sciSR.report.page_plots",
        "sciSR.comparison.self_check",
        "sciSR.metrics",
        "sciSR.trust.support",
        "sciSR.trust.features",
        "jinja2",
        "PIL.PngImagePlugin",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg",
    ),
    "evaluate": ("sciSR.comparison.compare", "sciSR.evaluation.evaluate"),
    "degrade": ("sciSR.workflow.degrade_settings", "sciSR.workflow.degrade_planes"),
    "register": ("sciSR.workflow.registering", "sciSR.workflow.stack_inputs"),
    "fuse": ("sciSR.workflow.fusing", "sciSR.workflow.fusing_stacks"),
}
_FITS = (
    "astropy.io.fits",
    "astropy.wcs",
    "scisr_astronomy.reader",
    "scisr_astronomy.writer",
    "scisr_astronomy.verify_fits",
)
_NIFTI = (
    "nibabel",
    "scisr_medical.nifti_geometry",
    "scisr_medical.nifti_writer",
    "scisr_medical.verify_nifti",
)
_DICOM = ("pydicom", "highdicom")
_BY_SUFFIX = {
    ".fits": _FITS,
    ".fit": _FITS,
    ".fts": _FITS,
    ".fz": _FITS,
    ".fits.gz": _FITS,
    ".nii": _NIFTI,
    ".nii.gz": _NIFTI,
    ".dcm": _DICOM,
    ".ima": _DICOM,
}


def modules_for(task: Task) -> tuple[str, ...]:
    """Names of modules that a task like this one will import, as far as its steps and its files' names tell.

    What is missing here, or can't be imported, is imported by the worker that needs it.
    """
    found: list[str] = []
    for node in task.nodes:
        found += _BY_STEP.get(node.step, ())
    name = task.files[0].lower() if task.files else ""
    for suffix, modules in _BY_SUFFIX.items():
        if name.endswith(suffix):
            found += modules
    return tuple(dict.fromkeys(found))
