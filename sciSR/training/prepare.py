"""Make a recipe's patch file: ``python -m sciSR.training.prepare configs/train/NAME.yaml --data
../shared/data``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from sciSR.training.recipe import Recipe, load_recipe


def prepare(recipe: Recipe, data: Path, out: Path) -> Path:
    """Write ``out/NAME.npz``: float16 ``truth [M, sP, sP]`` and ``input [M, P, P]``, or the noise that makes
    the input.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Data root; the recipe's files are below it.
    out : Path
        Folder for the patch file.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = [data / name for name in recipe.data["files"]]
    patch, count = recipe.data["patch"], recipe.data["patches"]
    if recipe.domain == "mr":
        from sciSR.training.mr_patches import mr_pairs

        pairs = list(mr_pairs(files, recipe.forward_model, recipe.scale, patch, count, recipe.seed))
        arrays = {"input": np.stack([p[0] for p in pairs]), "truth": np.stack([p[1] for p in pairs])}
    else:
        from sciSR.training.astro_patches import astro_patches

        truth, variance = astro_patches(
            files, recipe.scale, patch, count, recipe.data["simulated"], recipe.seed, recipe.data["resampled"]
        )
        arrays = {"truth": truth, "variance": variance}
    order = np.random.default_rng(recipe.seed).permutation(len(arrays["truth"]))
    arrays = {
        key: value[order].astype(np.float32 if key == "variance" else np.float16)
        for key, value in arrays.items()
    }
    target = out / f"{recipe.name}.npz"
    np.savez(target, **arrays)
    return target


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="data root, e.g. ../shared/data")
    parser.add_argument("--out", type=Path, default=Path("patches"))
    arguments = parser.parse_args()
    target = prepare(load_recipe(arguments.recipe), arguments.data, arguments.out)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
