"""Upscaling and verifying as nodes of a nipype workflow.

    python nipype_example.py study/sub-01/anat/sub-01_T2w.nii.gz results/

Research use only, not for diagnosis.
"""

import json
import sys
from pathlib import Path

from nipype import Node, Workflow
from nipype.interfaces.base import CommandLine, CommandLineInputSpec, File, TraitedSpec, traits
from nipype.interfaces.io import DataSink


class UpscaleInput(CommandLineInputSpec):
    in_file = File(exists=True, mandatory=True, argstr="%s", position=0, desc="image to upscale")
    out_file = File(
        argstr="-o %s", name_source="in_file", name_template="%s_hr", keep_extension=True, desc="the result"
    )
    scale = traits.Str("2", argstr="--scale %s", usedefault=True, desc="2, 1.5, 3/2")
    model = traits.Str("auto", argstr="--model %s", usedefault=True, desc="auto, cubic, or a trained model")
    json = traits.Bool(True, argstr="--json", usedefault=True, desc="the record on stdout")


class UpscaleOutput(TraitedSpec):
    out_file = File(exists=True, desc="the upscaled image")
    record = traits.Dict(desc="what was done: model, agreement, warnings")


class Upscale(CommandLine):
    """``scisr upscale``: one file in, one file out."""

    _cmd = "scisr upscale --overwrite"
    input_spec = UpscaleInput
    output_spec = UpscaleOutput
    terminal_output = "allatonce"

    def _run_interface(self, runtime, correct_return_codes=(0,)):
        runtime = super()._run_interface(runtime, correct_return_codes)
        self._record = json.loads(runtime.stdout)["results"][0]
        return runtime

    def _list_outputs(self):
        outputs = super()._list_outputs()
        outputs["record"] = self._record
        return outputs


class VerifyInput(CommandLineInputSpec):
    before = File(exists=True, mandatory=True, argstr="%s", position=0, desc="the input")
    after = File(
        exists=True, mandatory=True, argstr="%s", position=1, desc="the output, sciSR's or another's"
    )
    json = traits.Bool(True, argstr="--json", usedefault=True, desc="all checks on stdout")


class VerifyOutput(TraitedSpec):
    verified = File(desc="the output, if all promises hold")


class Verify(CommandLine):
    """``scisr verify``: fails (exit code 6) where a promise is broken."""

    _cmd = "scisr verify"
    input_spec = VerifyInput
    output_spec = VerifyOutput

    def _list_outputs(self):
        return {"verified": self.inputs.after}


def build(in_file: Path, results: Path, model: str = "auto") -> Workflow:
    """The workflow: upscale, verify, keep what was verified."""
    workflow = Workflow("scisr", base_dir=str(results / "work"))
    upscale = Node(Upscale(in_file=str(in_file.resolve()), model=model), "upscale")
    verify = Node(Verify(before=str(in_file.resolve())), "verify")
    keep = Node(DataSink(base_directory=str(results.resolve())), "keep")
    workflow.connect(upscale, "out_file", verify, "after")
    workflow.connect(verify, "verified", keep, "upscaled")
    return workflow


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2])).run()
