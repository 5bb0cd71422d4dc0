"""The panel "Upscale (sciSR)": napari makes it of a function's arguments, and calls that when its button is pressed."""

# No postponed annotations here: magicgui reads those of the arguments.

from typing import Annotated, Any


def model_names(widget: Any = None) -> list[str]:
    """What the panel offers: automatic choice, the classical methods, the user's own models, and those shipped."""
    from sciSR.inference.choose import CLASSICAL
    from sciSR.models.files import list_models
    from sciSR.models.user_models import list_user_models

    trained = [spec.name for spec in (*list_user_models(), *list_models())]
    return list(dict.fromkeys(["auto", *CLASSICAL, *trained]))


def upscale_layer(
    viewer: "napari.Viewer",  # type: ignore[name-defined]  # noqa: F821
    layer: "napari.layers.Image",  # type: ignore[name-defined]  # noqa: F821
    scale: Annotated[float, {"min": 1.0, "max": 16.0, "step": 0.5}] = 2.0,
    model: Annotated[str, {"choices": model_names}] = "auto",
    uncertainty: bool = False,
) -> None:
    """Upscale a layer in a thread of its own; the result, and its standard deviation, become new layers.

    Research use only, not for diagnosis.

    Parameters
    ----------
    viewer : napari.Viewer
    layer : napari.layers.Image
        One that sciSR read keeps its unit, domain and mask.
    scale : float
    model : str
        "auto" chooses by what the image is.
    uncertainty : bool
        Add the standard deviation of each pixel.
    """
    if layer is None:
        from sciSR.errors import UsageError

        raise UsageError("no image layer is chosen", remedy="open an image first")
    from napari.qt.threading import create_worker  # type: ignore[import-not-found]

    from sciSR.napari.upscaling import upscaled_layers

    def add(layers: list[Any]) -> None:
        for data, keywords, kind in layers:
            (viewer.add_labels if kind == "labels" else viewer.add_image)(data, **keywords)

    create_worker(
        upscaled_layers,
        layer,
        scale,
        model,
        uncertainty=uncertainty,
        _connect={"returned": add},
        _progress={"desc": f"upscaling {layer.name}"},
    )
