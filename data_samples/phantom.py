"""An MR-like head phantom with fine structure, and what a scanner with half the resolution records of it."""

from __future__ import annotations

import numpy as np

SLICES = 24
FINE = 192  # pixels of the truth along x and y
OVERSAMPLING = 3  # samples of the scene per pixel of the truth
NOISE = 6.0  # standard deviation in each channel, of a signal of about 1000
SPACING = (1.2, 1.2, 4.0)  # of the truth: millimetres along x, y, z
SEED = 20260402


def make_phantom() -> tuple[np.ndarray, np.ndarray]:
    """The truth and the acquisition, axes (x, y, z).

    Returns
    -------
    truth : ndarray, float32, (192, 192, 24)
        Without noise, at twice the resolution.
    acquired : ndarray, int16, (96, 96, 24)
        Magnitude image of the central half of k-space, with complex noise.
    """
    import torch

    from sciSR.forward.kspace import KSpaceCrop

    random = np.random.RandomState(SEED)
    truth = np.stack([_slice(k) for k in range(SLICES)])
    low = KSpaceCrop(2).apply(torch.from_numpy(truth)).numpy()
    channels = NOISE * random.standard_normal((2, *low.shape))
    acquired = np.rint(np.hypot(low + channels[0], channels[1])).astype(np.int16)
    return _to_ras(truth.astype(np.float32)), _to_ras(acquired)


def _to_ras(stack: np.ndarray) -> np.ndarray:
    """From (slice, row, column), front of the head in row 0, to (x, y, z) with y running to the front."""
    return np.ascontiguousarray(stack[:, ::-1].transpose(2, 1, 0))


def affine(spacing: tuple[float, float, float], size: int) -> np.ndarray:
    """Voxel index to scanner coordinates (RAS+, mm): an oblique stack whose field is centred near the isocentre."""
    a, b, c = np.radians([11.0, -7.0, 16.0])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_y @ about_x @ np.diag(spacing)
    matrix[:3, 3] = np.array([2.5, -8.0, 14.0]) - matrix[:3, :3] @ ((np.array([size, size, SLICES]) - 1) / 2)
    return matrix


def _slice(k: int) -> np.ndarray:
    """Slice `k`, (y, x): the head's sections shrink towards the top; pixel values are means over the pixels."""
    z = (k + 0.5) / SLICES * 1.7 - 0.95  # -0.95 below, 0.75 above
    head = np.sqrt(max(1 - (0.85 * z) ** 2, 0.05))
    n = FINE * OVERSAMPLING
    axis = ((np.arange(n) + 0.5) / n - 0.5) * 2.1
    y, x = axis[:, None], axis[None, :]
    scene = _head(y / head, x / (0.80 * head), z)
    shading = 1 + 0.18 * x - 0.12 * y + 0.08 * z  # the receive coil's sensitivity
    return (scene * shading).reshape(FINE, OVERSAMPLING, FINE, OVERSAMPLING).mean(axis=(1, 3))


def _head(y: np.ndarray, x: np.ndarray, z: float) -> np.ndarray:
    """Signal of a T1-weighted scan: scalp, skull, fluid, folded cortex, white matter, nuclei, ventricles, lesions."""
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    scene = np.zeros(np.broadcast_shapes(y.shape, x.shape))
    scene[radius < 0.97] = 880.0  # scalp
    scene[radius < 0.91] = 60.0  # skull
    scene[radius < 0.84] = 210.0  # fluid
    folds = _folds(angle, z)
    scene[radius < 0.815 - np.maximum(folds, 0) * 0.12] = 520.0  # grey matter, its outer side
    scene[radius < 0.735 - 0.11 * folds] = 790.0  # white matter, its inner side
    fissure = np.abs(x + 0.012 * np.sin(9 * y + 4 * z)) < 0.014
    scene[fissure & (radius < 0.80) & (np.abs(y) > 0.30)] = 210.0
    _deep(scene, y, x, z)
    _small(scene, y, x, z)
    return scene


def _folds(angle: np.ndarray, z: float) -> np.ndarray:
    """Depth of the cortex's folds along the rim, from -1 to 1."""
    wave = (
        np.sin(17 * angle + 5 * z)
        + 0.7 * np.sin(29 * angle - 8 * z + 1.0)
        + 0.4 * np.sin(47 * angle + 11 * z)
    )
    return np.tanh(1.4 * wave)


def _ellipse(
    y: np.ndarray, x: np.ndarray, cy: float, cx: float, ry: float, rx: float, turn: float = 0.0
) -> np.ndarray:
    u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
    v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
    return (u / rx) ** 2 + (v / ry) ** 2 < 1


def _deep(scene: np.ndarray, y: np.ndarray, x: np.ndarray, z: float) -> None:
    """Nuclei and ventricles, in the middle slices; folia of the cerebellum below."""
    extent = max(1 - (z / 0.6) ** 2, 0.0)
    for side in (-1, 1):
        if extent > 0.05:
            scene[_ellipse(y, x, 0.02, 0.24 * side, 0.20 * extent, 0.085, 0.25 * side)] = 600.0
            scene[_ellipse(y, x, 0.12, 0.12 * side, 0.11 * extent, 0.075, -0.3 * side)] = 640.0
            scene[_ellipse(y, x, -0.20, 0.10 * side, 0.21 * extent, 0.045, 0.35 * side)] = 190.0
            scene[_ellipse(y, x, 0.34, 0.17 * side, 0.17 * extent, 0.04, -0.5 * side)] = 190.0
    if z < -0.25:
        size = min(1.0, (-0.25 - z) / 0.25)
        cerebellum = _ellipse(y, x, 0.45, 0.0, 0.26 * size + 0.02, 0.46 * size + 0.02)
        leaves = 0.5 + 0.5 * np.sign(np.sin(75 * np.hypot(x, 1.6 * (y - 0.30)) + 3 * z))
        scene[:] = np.where(cerebellum, 560 + 180 * leaves, scene)


def _small(scene: np.ndarray, y: np.ndarray, x: np.ndarray, z: float) -> None:
    """Vessels and lesions near the limit of the resolution, and a comb of five bars for the eye."""
    for number in range(26):
        turn = 2.39996 * number  # the golden angle spreads them evenly
        r = 0.12 + 0.52 * np.sqrt((number + 0.5) / 26)
        size = 0.010 + 0.004 * (number % 4)
        dot = _ellipse(y, x, r * np.sin(turn + 0.4 * z), r * np.cos(turn + 0.4 * z), size, size * 1.3, turn)
        scene[dot & (scene > 500)] = 330.0 if number % 3 else 980.0
    if abs(z) < 0.25:
        for bar in range(5):
            middle = -0.54 + 0.054 * bar
            scene[(np.abs(x - middle) < 0.0135) & (np.abs(y + 0.02) < 0.09)] = 480.0
