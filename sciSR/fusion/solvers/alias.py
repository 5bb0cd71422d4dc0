"""The aliases: which frequencies of the fine grid meet in one frequency of a shifted frame.

A canvas of M native pixels (F = M s fine ones, both periodic) sees the fine frequencies q = -F/2 ... F/2 - 1. A frame's
frequency m holds all q = m (mod M), at most ceil(s) per axis: with the Fourier series coefficients of scene and frame,

    y_m = sum_j T(q_j) exp(2 pi i q_j u / F) x_{q_j},      T(q) = sinc(q / M) / sinc(q / F),

where u is the fine canvas index of the centre of the frame's pixel 0 (Papoulis 1977, IEEE Trans. Circuits Syst. 24,
652; Tsai and Huang 1984, Advances in Computer Vision and Image Processing 1, 317). Consecutive aliases of any m differ
by M, so the phases' Gram matrix is the same for all frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class AliasAxis:
    """One axis of the canvas.

    Attributes
    ----------
    native : int
        M, its native pixels; ``native * factor`` is whole.
    factor : Fraction
    device : torch.device
    half : bool
        Only m = 0 ... M // 2, as ``rfft`` gives for the last axis.
    """

    native: int
    factor: Fraction
    device: torch.device
    half: bool = False

    @property
    def fine(self) -> int:
        """F, its fine pixels."""
        return int(self.native * self.factor)

    @property
    def orders(self) -> int:
        """Aliases of one frequency, at most."""
        return -(-self.factor.numerator // self.factor.denominator)

    @cached_property
    def frequency(self) -> Tensor:
        """q of each alias and m, (orders, m), int64; those of ``F / 2`` and above are not on the fine grid."""
        m = torch.arange(self.native // 2 + 1 if self.half else self.native, device=self.device)
        lowest = -(self.fine // 2)
        first = lowest + (m - lowest) % self.native
        return first + self.native * torch.arange(self.orders, device=self.device)[:, None]

    @cached_property
    def present(self) -> Tensor:
        """Which of them are on the fine grid."""
        return 2 * self.frequency < self.fine

    @cached_property
    def response(self) -> Tensor:
        """T of each, 0 where not on the fine grid; (orders, m), float64."""
        q = self.frequency.to(torch.float64)
        return torch.where(self.present, torch.sinc(q / self.native) / torch.sinc(q / self.fine), 0.0)

    @cached_property
    def cycles(self) -> Tensor:
        """In cycles per native pixel; (orders, m), float64."""
        return self.frequency.to(torch.float64) / self.native

    def phases(self, position: float) -> Tensor:
        """``exp(2 pi i q u / F)``; (orders, m), complex128."""
        angle = 2 * torch.pi * self.frequency.to(torch.float64) * (position / self.fine)
        return torch.polar(torch.ones_like(angle), angle)

    def steps(self, position: float) -> Tensor:
        """The phases of the orders relative to the first; (orders,), complex128."""
        order = torch.arange(self.orders, dtype=torch.float64, device=self.device)
        angle = 2 * torch.pi * order * (position * self.native / self.fine)
        return torch.polar(torch.ones_like(angle), angle)


@dataclass(frozen=True, eq=False)
class Aliases:
    """Both axes. Spectra in alias layout are ``(row orders, column orders, M, M // 2 + 1)``."""

    rows: AliasAxis
    columns: AliasAxis

    @property
    def native(self) -> tuple[int, int]:
        return self.rows.native, self.columns.native

    @property
    def fine(self) -> tuple[int, int]:
        return self.rows.fine, self.columns.fine

    @property
    def orders(self) -> tuple[int, int]:
        return self.rows.orders, self.columns.orders

    @cached_property
    def response(self) -> Tensor:
        """T in alias layout, float64."""
        return self.rows.response[:, None, :, None] * self.columns.response[None, :, None, :]

    @cached_property
    def radius(self) -> Tensor:
        """Cycles per native pixel in alias layout, float64."""
        return torch.hypot(self.rows.cycles[:, None, :, None], self.columns.cycles[None, :, None, :])

    @cached_property
    def present(self) -> Tensor:
        return self.rows.present[:, None, :, None] & self.columns.present[None, :, None, :]

    def spread(self, frame: Tensor, position: tuple[float, float]) -> Tensor:
        """A frame's spectrum brought to each alias, conjugate phases applied (the adjoint of :meth:`fold`, bar T)."""
        r = self.rows.phases(position[0]).conj()[:, None, :, None]
        c = self.columns.phases(position[1]).conj()[None, :, None, :]
        return (frame[None] * r[:, 0])[:, None] * c

    def fold(self, scene: Tensor, position: tuple[float, float]) -> Tensor:
        """The spectrum of a frame that sees a scene (alias layout, T applied already); (M, M // 2 + 1)."""
        r = self.rows.phases(position[0])[:, :, None]
        c = self.columns.phases(position[1])[:, None, :]
        lines = [(scene[:, j] * r).sum(0) * c[j] for j in range(self.orders[1])]
        return torch.stack(lines).sum(0)

    def gram(self, position: tuple[float, float]) -> Tensor:
        """Of one frame: ``conj(h_a) h_b`` of the phases of all pairs of aliases; (orders^2, orders^2)."""
        steps = torch.outer(self.rows.steps(position[0]), self.columns.steps(position[1])).reshape(-1)
        return torch.outer(steps.conj(), steps)

    def to_fine(self, layout: Tensor) -> Tensor:
        """From alias layout to ``rfft2``'s, (F, F // 2 + 1); Hermitian halves are put together."""
        fine = torch.zeros((self.fine[0], self.fine[1] // 2 + 1), dtype=layout.dtype, device=layout.device)
        for a, b, rows, columns, mirrored in self._places():
            part = layout[a, b][self.rows.present[a]][:, columns[1]]
            fine[rows[:, None], columns[0][None, :]] = part.conj() if mirrored else part
        return fine

    def from_fine(self, fine: Tensor) -> Tensor:
        """The reverse; 0 for aliases that are not on the fine grid."""
        shape = (*self.orders, self.native[0], self.native[1] // 2 + 1)
        layout = torch.zeros(shape, dtype=fine.dtype, device=fine.device)
        for a, b, rows, columns, mirrored in self._places():
            part = fine[rows[:, None], columns[0][None, :]]
            block = layout[a, b][self.rows.present[a]]
            block[:, columns[1]] = part.conj() if mirrored else part
            layout[a, b][self.rows.present[a]] = block
        return layout

    def _places(self):  # type: ignore[no-untyped-def]
        """For each alias: fine rows, (fine columns, m of the columns), and whether the conjugate is stored there."""
        for a in range(self.orders[0]):
            q = self.rows.frequency[a][self.rows.present[a]]
            for b in range(self.orders[1]):
                p = self.columns.frequency[b]
                # The mirrored first: where both are stored (q = 0), the direct one stays.
                for mirrored in (True, False):
                    m = torch.nonzero(self.columns.present[b] & ((p < 0) == mirrored))[:, 0]
                    sign = -1 if mirrored else 1
                    yield a, b, (sign * q) % self.fine[0], (sign * p[m], m), mirrored


def canvas(
    native: tuple[int, int], factors: tuple[Fraction, Fraction], margin: int, device: torch.device
) -> Aliases:
    """A canvas of at least `margin` native pixels around the reference frame, with fast Fourier transforms."""
    sizes = [_length(n + 2 * margin, f) for n, f in zip(native, factors, strict=True)]
    return Aliases(
        AliasAxis(sizes[0], factors[0], device), AliasAxis(sizes[1], factors[1], device, half=True)
    )


def _length(size: int, factor: Fraction) -> int:
    """The least length from `size` on that the factor makes whole and whose transforms are fast."""
    step = factor.denominator
    start = -(-size // step) * step
    candidates = range(start, start + 64 * step, step)
    fast = [n for n in candidates if n <= 1.2 * size and _largest_prime(n * factor.numerator // step) <= 13]
    return fast[0] if fast else start


def _largest_prime(n: int) -> int:
    largest, p = 1, 2
    while p * p <= n:
        while n % p == 0:
            largest, n = p, n // p
        p += 1
    return max(largest, n)
