"""What a methods paragraph cites: one entry for each idea that an image went through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Citation:
    """One work.

    Attributes
    ----------
    key : str
        Of the BibTeX entry.
    kind : str
        ``"article"``, ``"inproceedings"``, ``"software"``.
    fields : tuple of (str, str)
        Of the entry, in order.
    short : str
        As cited in the text.
    """

    key: str
    kind: str
    short: str
    fields: tuple[tuple[str, str], ...]

    def bibtex(self) -> str:
        """The entry."""
        lines = [f"  {name:<9} = {{{value}}}," for name, value in self.fields]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])

    def reference(self) -> str:
        """One line for a list of references."""
        told = dict(self.fields)
        where = told.get("journal") or told.get("booktitle") or told.get("publisher", "")
        place = ", ".join(told[k] for k in ("volume", "pages") if k in told)
        parts = [
            told.get("author", "").replace(" and ", ", "),
            f"({told.get('year', '')})",
            told.get("title", "") + ".",
        ]
        parts += [
            f"{where} {place}".strip() + "." if where else "",
            f"doi:{told['doi']}" if "doi" in told else "",
        ]
        return " ".join(p for p in parts if p and p != "()")


def _work(key: str, kind: str, short: str, **fields: str) -> Citation:
    return Citation(key, kind, short, tuple(fields.items()))


def software(version: str) -> Citation:
    """This program."""
    return _work(
        "scisr", "software", "sciSR", author="{The sciSR developers}",
        title="sciSR: super-resolution for scientific images, with flux, geometry and metadata kept",
        version=version,
    )  # fmt: skip


# fmt: off
WORKS = {
    "espcn": _work(
        "shi2016", "inproceedings", "Shi et al. 2016",
        author="Shi, W. and Caballero, J. and Huszár, F. and others",
        title="Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural "
        "Network",
        booktitle="CVPR", year="2016", doi="10.1109/CVPR.2016.207"),
    "ecbsr": _work(
        "zhang2021", "inproceedings", "Zhang et al. 2021", author="Zhang, X. and Zeng, H. and Zhang, L.",
        title="Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices",
        booktitle="ACM Multimedia", year="2021", doi="10.1145/3474085.3475291"),
    "edsr": _work(
        "lim2017", "inproceedings", "Lim et al. 2017",
        author="Lim, B. and Son, S. and Kim, H. and Nah, S. and Lee, K. M.",
        title="Enhanced Deep Residual Networks for Single Image Super-Resolution",
        booktitle="CVPR Workshops", year="2017", doi="10.1109/CVPRW.2017.151"),
    "fsrcnn": _work(
        "dong2016", "inproceedings", "Dong et al. 2016", author="Dong, C. and Loy, C. C. and Tang, X.",
        title="Accelerating the Super-Resolution Convolutional Neural Network",
        booktitle="ECCV", year="2016", doi="10.1007/978-3-319-46475-6_25"),
    "srcnn": _work(
        "dong2014", "inproceedings", "Dong et al. 2014", author="Dong, C. and Loy, C. C. and He, K. and Tang, X.",
        title="Learning a Deep Convolutional Network for Image Super-Resolution",
        booktitle="ECCV", year="2014", doi="10.1007/978-3-319-10593-2_13"),
    "vdsr": _work(
        "kim2016", "inproceedings", "Kim et al. 2016", author="Kim, J. and Lee, J. K. and Lee, K. M.",
        title="Accurate Image Super-Resolution Using Very Deep Convolutional Networks",
        booktitle="CVPR", year="2016", doi="10.1109/CVPR.2016.182"),
    "lapsrn": _work(
        "lai2017", "inproceedings", "Lai et al. 2017",
        author="Lai, W.-S. and Huang, J.-B. and Ahuja, N. and Yang, M.-H.",
        title="Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution",
        booktitle="CVPR", year="2017", doi="10.1109/CVPR.2017.618"),
    "srresnet": _work(
        "ledig2017", "inproceedings", "Ledig et al. 2017", author="Ledig, C. and Theis, L. and Huszár, F. and others",
        title="Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network",
        booktitle="CVPR", year="2017", doi="10.1109/CVPR.2017.19"),
    "sparse": _work(
        "yang2010", "article", "Yang et al. 2010", author="Yang, J. and Wright, J. and Huang, T. S. and Ma, Y.",
        title="Image Super-Resolution Via Sparse Representation",
        journal="IEEE Transactions on Image Processing", year="2010", volume="19", pages="2861--2873",
        doi="10.1109/TIP.2010.2050625"),
    "cubic": _work(
        "keys1981", "article", "Keys 1981", author="Keys, R.",
        title="Cubic convolution interpolation for digital image processing",
        journal="IEEE Transactions on Acoustics, Speech, and Signal Processing", year="1981", volume="29",
        pages="1153--1160", doi="10.1109/TASSP.1981.1163711"),
    "lanczos": _work(
        "duchon1979", "article", "Duchon 1979", author="Duchon, C. E.",
        title="Lanczos Filtering in One and Two Dimensions",
        journal="Journal of Applied Meteorology", year="1979", volume="18", pages="1016--1022",
        doi="10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2"),
    "conformal": _work(
        "lei2018", "article", "Lei et al. 2018",
        author="Lei, J. and G'Sell, M. and Rinaldo, A. and Tibshirani, R. J. and Wasserman, L.",
        title="Distribution-Free Predictive Inference for Regression",
        journal="Journal of the American Statistical Association", year="2018", volume="113", pages="1094--1111",
        doi="10.1080/01621459.2017.1307116"),
    "frc": _work(
        "vanheel2005", "article", "van Heel & Schatz 2005", author="van Heel, M. and Schatz, M.",
        title="Fourier shell correlation threshold criteria",
        journal="Journal of Structural Biology", year="2005", volume="151", pages="250--262",
        doi="10.1016/j.jsb.2005.05.009"),
}
# fmt: on


def of_model(name: str) -> Citation | None:
    """The work that a model's or a method's name stands for: ``"ecbsr-mr-kspace-x2"``, ``"cubic"``."""
    words = name.lower().replace("_", "-").split("-")
    if "srgan" in words:
        return WORKS["srresnet"]
    return next((WORKS[word] for word in words if word in WORKS and word not in ("conformal", "frc")), None)


def bibliography(citations: Iterable[Citation]) -> str:
    """All entries, each once."""
    return "\n\n".join(c.bibtex() for c in dict.fromkeys(citations))


__all__ = ["WORKS", "Citation", "bibliography", "of_model", "software"]
