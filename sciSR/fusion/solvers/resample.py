"""A frame's values at any points, with their variance: cubic splines that know about bad pixels."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sciSR.fusion.prepared import PreparedFrame
from sciSR.fusion.solvers.window import Window, by_axes, frame_coordinates, nearest

POLE = math.sqrt(3.0) - 2.0
"""Of the cubic B-spline's inverse filter, ``sqrt(3) z^|k|`` (Unser et al. 1993, IEEE Trans. Sig. Proc. 41, 821)."""

BLOCK = 32
"""Native pixels along a block of :func:`sky_variance`."""

POINTS = 1 << 16
"""Points interpolated at once."""

TAIL = 16
"""Where that filter is cut: z^16 is 7e-10."""

_PAD = 2
_TABLE = 2048


@dataclass(frozen=True, eq=False)
class Samples:
    """A frame at the fine pixels' centres, all of the window's shape.

    Attributes
    ----------
    value : Tensor
        Level of a native pixel centred there.
    noise : Tensor
        Variance of `value`, pixels of the frame being independent.
    variance : Tensor
        Of a native pixel there: `noise` without what interpolation averages away.
    level : Tensor
        The same without stars (:func:`sky_variance`): for weights.
    good : Tensor of bool
        The frame has a good pixel there.
    """

    value: Tensor
    noise: Tensor
    variance: Tensor
    level: Tensor
    good: Tensor


class FrameSampler:
    """Interpolates one frame.

    Bad pixels are first filled from good ones around them. A filled pixel then counts as one measured badly: with
    the square of the range of its good neighbours added to its variance. So a point whose value rests on it weighs
    little beside a star and about as much as the others in the empty sky; a point *in* a bad pixel is not good.

    Parameters
    ----------
    frame : PreparedFrame
    device : torch.device
    """

    def __init__(self, frame: PreparedFrame, device: torch.device) -> None:
        self.frame = frame
        self.device = device
        self.shape = (int(frame.values.shape[0]), int(frame.values.shape[1]))
        bad = torch.from_numpy(frame.bad).to(device)
        values = torch.from_numpy(frame.values).to(device).masked_fill(bad, 0.0)
        variance = torch.from_numpy(frame.variance).to(device).masked_fill(bad, 0.0)
        self._good = ~bad
        level = sky_variance(variance, bad)
        if bool(bad.any()):
            weight = (~bad).to(values.dtype)
            values = fill(values, weight)
            doubt = torch.where(bad, _local_range(values, bad) ** 2, 0.0)
            variance = fill(variance, weight) + doubt
            level = level + doubt
        self.coefficients = _prefilter(values)
        self.variance, self.level = _edge(variance, _PAD), _edge(level, _PAD)

    def at(self, window: Window) -> Samples:
        """The frame at the fine pixels of a window."""
        if by_axes(self.frame.transform):
            return self._at(window)
        # In bands: the tap's addresses and products stay in the cache.
        step = max(POINTS // window.shape[1], 1)
        starts = range(window.rows[0], window.rows[1], step)
        bands = [replace(window, rows=(r, min(r + step, window.rows[1]))) for r in starts]
        parts = [self._at(band) for band in bands]
        return Samples(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Samples)))

    def _at(self, window: Window) -> Samples:
        row, column = frame_coordinates(self.frame.transform, window, self.device)
        index, inside = nearest(row, column, self.shape)
        good = self._good.reshape(-1)[index] & inside
        rows, columns = _axis(row, self.shape[0]), _axis(column, self.shape[1])
        if row.shape[1] == 1 and column.shape[0] == 1:
            value, noise, level = self._by_axes(rows, columns)
        else:
            value, noise, level = self._by_points(rows, columns, window.shape)
        gain = rows.gain * columns.gain
        return Samples(value, noise, noise / gain, level / gain, good)

    def _by_axes(self, rows: _Axis, columns: _Axis) -> list[Tensor]:
        out = []
        first, second = rows.base[:, 0], columns.base[0]
        for plane, taps in ((self.coefficients, "value"), (self.variance, "noise"), (self.level, "noise")):
            r, c = getattr(rows, taps), getattr(columns, taps)
            part = sum(r[i] * plane[first + i] for i in range(4))
            out.append(sum(part[:, second + j] * c[j] for j in range(4)))
        return out

    def _by_points(self, rows: _Axis, columns: _Axis, shape: tuple[int, int]) -> list[Tensor]:
        width = self.coefficients.shape[1]
        planes = [p.reshape(-1) for p in (self.coefficients, self.variance, self.level)]
        base = (rows.base * width + columns.base).expand(shape)
        out = [torch.zeros(shape, dtype=planes[0].dtype, device=self.device) for _ in planes]
        for i in range(4):
            for j in range(4):
                where = base + (i * width + j)
                shared = rows.noise[i] * columns.noise[j]
                for plane, sum_, weight in zip(
                    planes, out, (rows.value[i] * columns.value[j], shared, shared), strict=True
                ):
                    sum_.addcmul_(plane[where], weight)
        return out


@dataclass(frozen=True, eq=False)
class _Axis:
    """Four taps along one axis: `base` the first in the padded array, weights, and their sum for the noise."""

    base: Tensor
    value: list[Tensor]
    noise: list[Tensor]
    gain: Tensor


def _axis(position: Tensor, size: int) -> _Axis:
    whole = torch.floor(position)
    fraction = (position - whole).to(torch.float32)
    # Points outside are not good; they only need an address that exists.
    base = whole.long().clamp(-1, size - 1) - 1 + _PAD
    noise = _noise_table(position.device)[(fraction * _TABLE).long()]
    return _Axis(base, bspline_taps(fraction), list(noise.unbind(-1)), noise.sum(-1))


def bspline_taps(f: Tensor) -> list[Tensor]:
    """The four cubic B-spline weights at ``floor - 1 ... floor + 2`` for a fraction of a pixel."""
    g = 1 - f
    return [g**3 / 6, (4 - 6 * f**2 + 3 * f**3) / 6, (4 - 6 * g**2 + 3 * g**3) / 6, f**3 / 6]


def cardinal_spline(distance: Tensor) -> Tensor:
    """The cardinal cubic spline: weight of a sample (not of a coefficient) at this distance in pixels."""
    k = torch.arange(-TAIL, TAIL + 1, dtype=distance.dtype, device=distance.device)
    d = (distance[..., None] - k).abs()
    basis = torch.where(d < 1, 2 / 3 - d**2 + d**3 / 2, (2 - d).clamp(min=0) ** 3 / 6)
    return (math.sqrt(3.0) * POLE ** k.abs() * basis).sum(-1)


def cardinal_response(cycles: Tensor) -> Tensor:
    """Transform of the cardinal cubic spline, at frequencies in cycles per sample (Unser 1999)."""
    return torch.sinc(cycles) ** 4 * 3 / (2 + torch.cos(2 * torch.pi * cycles))


@functools.cache
def _noise_table(device: torch.device) -> Tensor:
    """Squares of the cardinal spline at the four samples around a point, by fraction; (fractions + 1, 4).

    The squares beyond (under 2 % of the sum) are given to the four, so that a constant variance comes out exactly.
    """
    fraction = (torch.arange(_TABLE + 1, dtype=torch.float64) + 0.5) / _TABLE
    samples = torch.arange(-8, 10, dtype=torch.float64)
    squares = cardinal_spline(fraction[:, None] - samples) ** 2
    near = squares[:, 7:11]
    return (near * (squares.sum(1) / near.sum(1))[:, None]).to(torch.float32).to(device)


def _edge(plane: Tensor, pad: int) -> Tensor:
    return F.pad(plane[None, None], (pad,) * 4, mode="replicate")[0, 0] if pad else plane


def _prefilter(values: Tensor) -> Tensor:
    """B-spline coefficients of the frame, its edge pixels repeated; two more on each side."""
    taps = math.sqrt(3.0) * POLE ** torch.arange(-TAIL, TAIL + 1, device=values.device).abs().double()
    taps = taps.to(values.dtype)
    plane = _edge(values, TAIL + _PAD)[None, None]
    return F.conv2d(F.conv2d(plane, taps[None, None, :, None]), taps[None, None, None, :])[0, 0]


def fill(values: Tensor, weight: Tensor) -> Tensor:
    """Replace pixels of weight 0 by a smooth continuation of the others: normalised convolution, coarse to fine.

    Gortler et al. (1996, SIGGRAPH 43)'s pull and push with Knutsson and Westin's (1993, CVPR 515) convolution.

    Parameters
    ----------
    values : Tensor, (rows, columns)
        What stands where `weight` is 0 has no influence, if finite.
    weight : Tensor, (rows, columns)
        1 where good, 0 where not.

    Returns
    -------
    Tensor
        `values` where the weight is 1; zero everywhere where nothing is good.
    """
    known = weight > 0
    if bool(known.all()):
        return values
    smooth = _smooth((values * weight)[None, None], weight[None, None])[0, 0]
    return torch.where(known, values, smooth)


def _smooth(product: Tensor, weight: Tensor) -> Tensor:
    """Local weighted mean, from wider surroundings where there is little weight near."""
    taps = torch.tensor([0.135, 0.607, 1.0, 0.607, 0.135], dtype=weight.dtype, device=weight.device)
    taps = taps / taps.sum()

    def blur(plane: Tensor) -> Tensor:
        plane = F.conv2d(plane, taps[None, None, :, None], padding=(2, 0))
        return F.conv2d(plane, taps[None, None, None, :], padding=(0, 2))

    top, bottom = blur(product), blur(weight)
    if min(weight.shape[-2:]) <= 2 or bool((bottom > 0.05).all()):
        total = weight.sum()
        coarse = product.sum() / total.clamp(min=1e-30)
    else:
        pooled = [F.avg_pool2d(p, 2, ceil_mode=True, count_include_pad=False) for p in (product, weight)]
        coarse = F.interpolate(_smooth(*pooled), size=weight.shape[-2:], mode="bilinear", align_corners=False)
    little = 1e-3
    return (top + little * coarse) / (bottom + little)


def sky_variance(variance: Tensor, bad: Tensor) -> Tensor:
    """The variance that weights are made of: the median over blocks of 32 pixels, with bilinear transitions.

    A star's photons add variance where they fall. Were weights to follow that pixel by pixel, the pixels nearest the
    star's centre would count least, and the star would lose 0.2 % of its flux (mean) to 4 % (drizzle).

    Parameters
    ----------
    variance : Tensor, (rows, columns)
    bad : Tensor of bool

    Returns
    -------
    Tensor
        Positive; 1 if nothing is good.
    """
    rows, columns = variance.shape
    blocks = [-(-n // BLOCK) for n in (rows, columns)]
    whole = F.pad(
        variance.masked_fill(bad, torch.nan),
        (0, blocks[1] * BLOCK - columns, 0, blocks[0] * BLOCK - rows),
        value=torch.nan,
    )
    tiles = whole.reshape(blocks[0], BLOCK, blocks[1], BLOCK).transpose(1, 2).flatten(2)
    medians = tiles.nanmedian(dim=2).values
    known = torch.isfinite(medians)
    if not bool(known.any()):
        return torch.ones_like(variance)
    medians = fill(medians.nan_to_num(0.0), known.to(medians.dtype))
    size = (blocks[0] * BLOCK, blocks[1] * BLOCK)
    smooth = F.interpolate(medians[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    return smooth[:rows, :columns]


def gaussian(plane: Tensor, sigmas: tuple[float, float]) -> Tensor:
    """Gaussian mean, zero beyond the border; give it float32: torch convolves others by copying them for each tap."""
    for axis, sigma in enumerate(sigmas):
        reach = max(int(3 * sigma + 0.5), 1)
        t = torch.arange(-reach, reach + 1, dtype=plane.dtype, device=plane.device)
        taps = torch.exp(-0.5 * (t / sigma) ** 2)
        shape, padding = ((1, 1, -1, 1), (reach, 0)) if axis == 0 else ((1, 1, 1, -1), (0, reach))
        plane = F.conv2d(plane[None, None], (taps / taps.sum()).reshape(shape), padding=padding)[0, 0]
    return plane


def _local_range(values: Tensor, bad: Tensor) -> Tensor:
    """Largest difference among the good pixels around each pixel (5x5); 0 where there are fewer than two."""
    far = torch.finfo(values.dtype).max
    both = torch.stack([values.masked_fill(bad, -far), (-values).masked_fill(bad, -far)])[None]
    top, low = F.max_pool2d(F.max_pool2d(both, (5, 1), 1, (2, 0)), (1, 5), 1, (0, 2))[0]
    return torch.where(top >= -low, top + low, 0.0)
