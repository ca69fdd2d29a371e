"""How the stored voxels of a scan lie in the patient, and their axial view.

The axial view has slices towards the head, rows towards the back and columns towards the patient's left. It is reached
by swapping and turning round stored axes alone; no voxel is interpolated. Millimetres are DICOM's (LPS+): x to the
patient's left, y to the back, z to the head. In an affine a pixel's centre lies at its whole number; in a box its outer
edges lie at that number and the next.

Shapes      I, J, K stored voxels, the fastest axis of the file first   S slices   H rows   W columns
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations, product
from math import acos, degrees

import numpy as np

from semeia.records import SemeiaError

MAX_SIDE = 4096
"""Rows or columns of a slice."""
MAX_SLICES = 10_000
SPACINGS = (0.01, 100.0)
"""Millimetres from voxel to voxel that are believed."""
MAX_TURN = 30.0
"""Degrees by which slices may be turned against the patient's axes: the gantry of a scanner tilts no further."""
NOTABLE = 1.0
"""Degrees from which a turn is told."""
SKEW = 0.01
"""Cosine between two axes up to which they count as orthogonal; rounding in headers leaves less."""

Box = Sequence[float]
"""x0, y0, x1, y1 in pixels, outer edges."""


@dataclass(frozen=True)
class Grid:
    """Stored voxels in the patient.

    Attributes:
        shape: I, J, K.
        affine: (4, 4), stored (i, j, k) to LPS mm.
        axes: The stored axes that are the columns, rows and slices (x, y, z) of the axial view.
        flips: Whether each of them is stored the other way round.
        offsets: (slices as stored, 3) mm, where single slices lie off the affine; None where none does.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray = field(repr=False, compare=False)
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    offsets: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def axial_shape(self) -> tuple[int, int, int]:
        """S, H, W."""
        x, y, z = self.axes
        return self.shape[z], self.shape[y], self.shape[x]

    @property
    def axial_affine(self) -> np.ndarray:
        """(4, 4), voxel (x, y, z) of the axial view to LPS mm."""
        to_stored = np.zeros((4, 4))
        to_stored[3, 3] = 1
        for view, (axis, flipped) in enumerate(zip(self.axes, self.flips, strict=True)):
            to_stored[axis, view] = -1 if flipped else 1
            to_stored[axis, 3] = self.shape[axis] - 1 if flipped else 0
        return self.affine @ to_stored

    def stored_slice(self, z: int) -> int:
        """Where the axial slice z lies along the stored slice axis."""
        return self.shape[self.axes[2]] - 1 - z if self.flips[2] else z

    def stored_box(self, box: Box) -> tuple[float, float, float, float]:
        """A box of the axial view in stored columns and rows: the faster of both stored axes counts columns."""
        edges: dict[int, tuple[float, float]] = {}
        for axis, flipped, low, high in zip(self.axes[:2], self.flips[:2], box[:2], box[2:], strict=True):
            side = self.shape[axis]
            edges[axis] = (side - high, side - low) if flipped else (low, high)
        (x0, x1), (y0, y1) = (edges[axis] for axis in sorted(edges))
        return x0, y0, x1, y1

    def axial(self, stored: np.ndarray) -> np.ndarray:
        """The axial view (n, H, W) of voxels (i, j, k) that hold any part of the slice axis."""
        x, y, z = self.axes
        view = stored.transpose(z, y, x)
        steps = tuple(slice(None, None, -1 if flipped else 1) for flipped in reversed(self.flips))
        return view[steps]

    def world_box(self, z0: int, z1: int, box: Box) -> tuple[float, float, float, float, float, float]:
        """x0, y0, z0, x1, y1, z1 in LPS mm of the smallest box around a box on the axial slices z0 to z1."""
        affine = self.axial_affine
        corners = []
        for x, y, (z, edge) in product(box[::2], box[1::2], ((z0, z0 - 0.5), (z1, z1 + 0.5))):
            point = affine[:3] @ (x - 0.5, y - 0.5, edge, 1.0)
            corners.append(point if self.offsets is None else point + self.offsets[self.stored_slice(z)])
        low, high = np.min(corners, axis=0).tolist(), np.max(corners, axis=0).tolist()
        return low[0], low[1], low[2], high[0], high[1], high[2]


def check_sides(sides: Sequence[int], source: str) -> None:
    """Refuse numbers of voxels that no scan has.

    Raises:
        SemeiaError: A side is zero, negative or too large, or there are not three.
    """
    if len(sides) != 3 or min(sides) < 1 or max(sides) > MAX_SLICES or sorted(sides)[1] > MAX_SIDE:
        raise _wrong_sides(sides, source)


def _wrong_sides(sides: Sequence[int], source: str) -> SemeiaError:
    found = " x ".join(map(str, sides)) or "none"
    limits = f"three sides, two of 1 to {MAX_SIDE:,} pixels and up to {MAX_SLICES:,} slices"
    return SemeiaError(f"{source}: expected {limits}, found {found}")


def grid_of(
    shape: Sequence[int], affine: np.ndarray, *, source: str, tilted: bool = False
) -> tuple[Grid, tuple[str, ...]]:
    """Find the axial view of stored voxels.

    Args:
        shape: I, J, K.
        affine: (4, 4), stored (i, j, k) to LPS mm.
        source: What the user named, for messages.
        tilted: Accept slices that are shifted against one another, as a tilted gantry makes them; k counts slices.

    Returns:
        The grid, and what was assumed.

    Raises:
        SemeiaError: The sides or the affine are impossible, turned by more than ``MAX_TURN`` or sheared.
    """
    check_sides(shape, source)
    affine = np.asarray(affine, dtype=float)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise SemeiaError(f"{source}: expected an affine of finite numbers, found {affine.tolist()}")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() < SPACINGS[0] or spacing.max() > SPACINGS[1]:
        found = " x ".join(f"{s:g}" for s in spacing)
        raise SemeiaError(f"{source}: expected voxels of {SPACINGS[0]:g} to {SPACINGS[1]:g} mm, found {found} mm")
    directions = affine[:3, :3] / spacing  # columns: unit vectors of i, j, k
    cosines = np.abs(directions.T @ directions)[np.triu_indices(3, 1)]  # i-j, i-k, j-k
    if cosines[0] > SKEW or (not tilted and cosines.max() > SKEW) or abs(np.linalg.det(directions)) < 0.5:
        raise SemeiaError(f"{source}: expected axes at right angles, found a sheared affine (the worst angle is "
                          f"{degrees(acos(min(cosines.max(), 1.0))):.1f} degrees); resample it first")  # fmt: skip

    def along(axes: tuple[int, ...]) -> float:
        return float(sum(abs(directions[world, axis]) for world, axis in enumerate(axes)))

    x, y, z = max(permutations(range(3)), key=along)
    flips = tuple(bool(directions[world, axis] < 0) for world, axis in enumerate((x, y, z)))
    grid = Grid((shape[0], shape[1], shape[2]), affine, (x, y, z), (flips[0], flips[1], flips[2]))
    if max(grid.axial_shape[1:]) > MAX_SIDE:
        raise _wrong_sides(shape, source)
    return grid, _turned(grid, source)


def _turned(grid: Grid, source: str) -> tuple[str, ...]:
    """What there is to tell of axes that are not quite the patient's."""
    affine = grid.axial_affine[:3, :3]
    columns, rows, step = (affine / np.linalg.norm(affine, axis=0)).T
    normal = np.cross(columns, rows)
    turn = degrees(acos(min(max(columns[0], 0), max(rows[1], 0), max(normal[2], 0), 1.0)))
    tilt = degrees(acos(min(max(normal @ step, 0), 1.0)))
    if turn > MAX_TURN or tilt > MAX_TURN + NOTABLE:
        raise SemeiaError(f"{source}: expected slices within {MAX_TURN:.0f} degrees of axial, sagittal or coronal, "
                          f"found {max(turn, tilt):.0f} degrees; resample it along those axes first")  # fmt: skip
    notes = []
    if tilt > NOTABLE:
        notes.append(
            f"The gantry was tilted by {tilt:.0f} degrees: slices are shifted against one another. Boxes in a slice "
            "are exact, and millimetres follow the shift."
        )
    elif turn > NOTABLE:
        notes.append(
            f"The slices are turned by {turn:.0f} degrees against the patient's axes and are read as they are stored, "
            "as the nearest axial view."
        )
    return tuple(notes)


def with_offsets(grid: Grid, offsets: np.ndarray) -> Grid:
    """The grid with slices that lie off its affine by (slices as stored, 3) mm."""
    return replace(grid, offsets=offsets)
