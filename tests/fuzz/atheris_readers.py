"""Coverage-guided fuzzing of one reader, where atheris is to be had (``pip install atheris``, Linux and macOS).

    python tests/fuzz/atheris_readers.py fits/cube -max_total_time=600

Inputs begin with the honest file and are grown by libFuzzer towards code that no input has reached yet. Anything raised
that is no SciSRError ends it, with the input written to ``crash-*``.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import atheris
import fuzz_seeds

from sciSR.errors import SciSRError


def read(path: Path) -> None:
    """Every pixel of a file."""
    import numpy as np

    from sciSR.plugins import adapter_for

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for image in adapter_for(path).read(path):
            np.asarray(image.data[(slice(None),) * len(image.shape)])


def main() -> None:
    """Fuzz the reader of the honest file named first; further arguments are libFuzzer's."""
    name, *options = sys.argv[1:]
    seed = fuzz_seeds.seeds()[name]
    with tempfile.TemporaryDirectory(prefix="scisr-atheris-") as folder:
        honest = fuzz_seeds.make(seed, Path(folder))
        path, victim = honest / seed.opened, honest / seed.victim
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        (corpus / "honest").write_bytes(victim.read_bytes())
        with atheris.instrument_imports(include=["scisr_astronomy", "scisr_medical"]):
            read(path)  # what is imported on the way is watched

        def once(content: bytes) -> None:
            victim.write_bytes(content)
            with contextlib.suppress(SciSRError):
                read(path)

        limits = ["-timeout=10", "-rss_limit_mb=2048", f"-max_len={4 * victim.stat().st_size}"]
        atheris.Setup([sys.argv[0], *limits, *options, str(corpus)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
