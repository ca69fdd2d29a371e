"""Loops of the CT world, compiled by numba: filled outlines and tubes, painted into a stack of planes.

Painting is "over": a new thing hides what lies below by its coverage of the pixel, and takes the tissue number of the
pixels that it covers by half or more. It is painted only onto the tissues named as hosts.

Shapes      K planes   N pixels a side   P points of an outline   T tubes
"""

from __future__ import annotations

import numpy as np
from numba import njit

_SCANS = 3  # scan lines a pixel row


def _fill(  # noqa: PLR0917 - compiled loops take arrays in order
    hu: np.ndarray,
    tissue: np.ndarray,
    outlines: np.ndarray,
    shown: np.ndarray,
    value: float,
    number: int,
    hosts: np.ndarray,
) -> None:
    """Fill one closed outline a plane.

    Args:
        hu: (K, N, N) float32, written.
        tissue: (K, N, N) uint8, written.
        outlines: (K, P, 2) x and y in pixels, 0 at the centre of the first.
        shown: (K,) bool, planes in which there is an outline.
        value: HU.
        number: of the tissue.
        hosts: (256,) bool by tissue number.
    """
    planes, size = hu.shape[0], hu.shape[1]
    points = outlines.shape[1]
    crossings, near = np.empty(points), np.empty(points, np.int64)
    cover = np.zeros(size, np.float32)
    for k in range(planes):
        if not shown[k]:
            continue
        low, high = outlines[k, :, 1].min(), outlines[k, :, 1].max()
        for row in range(max(int(np.floor(low)), 0), min(int(np.ceil(high)), size - 1) + 1):
            first, last = size, -1
            edges = 0  # those that this row may cross
            for a in range(points):
                b = a + 1 if a + 1 < points else 0
                ya, yb = outlines[k, a, 1], outlines[k, b, 1]
                if min(ya, yb) <= row + 0.5 and max(ya, yb) >= row - 0.5:
                    near[edges] = a
                    edges += 1
            for scan in range(_SCANS):
                y = row + (scan + 0.5) / _SCANS - 0.5
                count = 0
                for e in range(edges):
                    a = near[e]
                    b = a + 1 if a + 1 < points else 0
                    ya, yb = outlines[k, a, 1], outlines[k, b, 1]
                    if (ya <= y) != (yb <= y):
                        xa = outlines[k, a, 0]
                        crossings[count] = xa + (y - ya) / (yb - ya) * (outlines[k, b, 0] - xa)
                        count += 1
                crossings[:count].sort()
                for c in range(0, count - 1, 2):
                    left, right = max(crossings[c] + 0.5, 0.0), min(crossings[c + 1] + 0.5, float(size))
                    if right <= left:
                        continue
                    ileft, iright = int(left), min(int(right), size - 1)
                    first, last = min(first, ileft), max(last, iright)
                    if ileft == iright:
                        cover[ileft] += (right - left) / _SCANS
                        continue
                    cover[ileft] += (ileft + 1 - left) / _SCANS
                    for x in range(ileft + 1, iright):
                        cover[x] += 1.0 / _SCANS
                    cover[iright] += (right - iright) / _SCANS
            for x in range(first, last + 1):
                alpha = min(cover[x], 1.0)
                cover[x] = 0
                if alpha > 0 and hosts[tissue[k, row, x]]:
                    hu[k, row, x] += (value - hu[k, row, x]) * alpha
                    if alpha >= 0.5:
                        tissue[k, row, x] = number


def _tubes(  # noqa: PLR0917 - compiled loops take arrays in order
    hu: np.ndarray,
    tissue: np.ndarray,
    tubes: np.ndarray,
    planes: np.ndarray,
    flatness: float,
    value: float,
    number: int,
    hosts: np.ndarray,
) -> None:
    """Paint straight tubes with round ends.

    Args:
        hu: (K, N, N) float32, written.
        tissue: (K, N, N) uint8, written.
        tubes: (T, 8) x, y, z of both ends and the radii there, all in pixels.
        planes: (K,) z of the planes in pixels.
        flatness: radius in the plane over radius along z.
        value: HU.
        number: of the tissue.
        hosts: (256,) bool by tissue number.
    """
    size = hu.shape[1]
    for t in range(tubes.shape[0]):
        px, py, pz = tubes[t, 0], tubes[t, 1], tubes[t, 2]
        dx, dy, dz = tubes[t, 3] - px, tubes[t, 4] - py, (tubes[t, 5] - pz) * flatness
        ra, rb = tubes[t, 6], tubes[t, 7]
        reach, long = max(ra, rb) + 0.5, dx * dx + dy * dy + dz * dz + 1e-9
        for k in range(hu.shape[0]):
            z = (planes[k] - pz) * flatness
            if z < min(0.0, dz) - reach or z > max(0.0, dz) + reach:
                continue
            # Only the part of the axis within reach of this plane bounds the window.
            s0, s1 = 0.0, 1.0
            if abs(dz) > 1e-6:
                u, v = (z - reach) / dz, (z + reach) / dz
                s0, s1 = max(0.0, min(u, v)), min(1.0, max(u, v))
            xa, xb, ya, yb = px + s0 * dx, px + s1 * dx, py + s0 * dy, py + s1 * dy
            left, right = max(int(np.ceil(min(xa, xb) - reach)), 0), min(int(max(xa, xb) + reach), size - 1)
            top, bottom = max(int(np.ceil(min(ya, yb) - reach)), 0), min(int(max(ya, yb) + reach), size - 1)
            for y in range(top, bottom + 1):
                for x in range(left, right + 1):
                    s = ((x - px) * dx + (y - py) * dy + z * dz) / long
                    s = min(max(s, 0.0), 1.0)
                    ex, ey, ez = x - px - s * dx, y - py - s * dy, z - s * dz
                    radius = ra + s * (rb - ra)
                    alpha = radius - np.sqrt(ex * ex + ey * ey + ez * ez) + 0.5
                    if alpha <= 0 or not hosts[tissue[k, y, x]]:
                        continue
                    alpha = min(alpha, 1.0, 2 * radius)
                    hu[k, y, x] += (value - hu[k, y, x]) * alpha
                    if alpha >= 0.5:
                        tissue[k, y, x] = number


def _grain(  # noqa: PLR0917 - compiled loops take arrays in order
    tissue: np.ndarray,
    fine: np.ndarray,
    coarse: np.ndarray,
    spread: np.ndarray,
    special: np.ndarray,
    marbling: float,
    slope: float,
    out: np.ndarray,
) -> None:
    """Texture of tissues.

    Args:
        tissue: (S, N, N) uint8.
        fine: (S, N, N) smooth noise of spread 1.
        coarse: (S, N, N) the same, smoother.
        spread: (256, 2) HU of the fine and the coarse part.
        special: (256,) 1 fat with septa, 2 muscle, 3 lung, 4 stool, else 0.
        marbling: share of fat in muscle.
        slope: HU a row that the lung grows denser downwards.
        out: (S, N, N) float32 HU, written.
    """
    half = tissue.shape[1] / 2
    for k in range(tissue.shape[0]):
        for y in range(tissue.shape[1]):
            for x in range(tissue.shape[2]):
                t, f, c = tissue[k, y, x], fine[k, y, x], coarse[k, y, x]
                value = spread[t, 0] * f + spread[t, 1] * c
                if special[t] == 1 and abs(c) < 0.3 and f > -0.2:
                    # Septa: thin sheets where the coarse field changes its sign.
                    value += 16 * np.exp(-((c / 0.11) ** 2))
                elif special[t] == 2:
                    # Fat between the fibres.
                    value -= min((20 + 90 * marbling) * max(c + 0.6 * f - 1.1 + marbling, 0.0), 110.0)
                elif special[t] == 3:
                    value += slope * (y - half)
                elif special[t] == 4 and f + c > 1.5:
                    value -= 450
                out[k, y, x] = value


# Not as decorators: numba is untyped.
fill = njit(cache=True)(_fill)
tubes = njit(cache=True)(_tubes)
grain = njit(cache=True)(_grain)
