"""Meshes of glasses, hats, masks, hands and earrings, fitted to the head of one shot.

Hats are shaped around the template and carried over to the head; masks are a smooth sheet through the skin of the lower
face; the rest is placed by landmarks and then moved out of the skin. Units are decimetres; ``unit`` is the size of the
head relative to the template, measured between the eyes.

Shapes: N vertices, T triangles, W smooth skin vertices, M points along a path.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

from semeia.data.synthetic.faces.headspace import carry, distance_field, likeness, sample
from semeia.data.synthetic.faces.topology import AXIS_DEPTH, canonical, load_topology, vertex_normals

Shell = tuple[np.ndarray, np.ndarray]  # vertices (N, 3), triangles (T, 3)

_EYES_APART = 0.616  # of the template
_HEAD_MIDDLE = np.array([0.0, 7.5, 0.48])
_AROUND = 48


@dataclass(frozen=True)
class Face:
    """What things are fitted to: (W, 3) skin and its normals, (68, 3) landmarks, and the head's size."""

    skin: np.ndarray
    normals: np.ndarray
    landmarks: np.ndarray

    @property
    def eyes(self) -> np.ndarray:
        """(2, 3) middles of the right and the left eye."""
        return np.stack([self.landmarks[36:42].mean(0), self.landmarks[42:48].mean(0)])

    @property
    def unit(self) -> float:
        """Size of the head relative to the template."""
        return float(np.linalg.norm(self.eyes[1] - self.eyes[0])) / _EYES_APART

    def front(self, low: np.ndarray, high: np.ndarray) -> float:
        """Greatest z of the skin within a rectangle (x, y), and of the eyes' height where no skin is there."""
        inside = ((self.skin[:, :2] > low) & (self.skin[:, :2] < high)).all(1)
        return float(self.skin[inside, 2].max()) if inside.any() else float(self.eyes[:, 2].mean())


@functools.cache
def ear_vertices() -> dict[str, tuple[int, int]]:
    """Skin vertex at the upper root and at the lobe of the ear, for ``left`` and ``right``."""
    template = load_topology().smooth["skin"].template
    found = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        x = template[:, 0] * sign
        root = np.linalg.norm(template - np.array([sign * 0.77, 7.44, 0.42]), axis=1).argmin()
        lobe = np.where((x > 0.72) & (template[:, 1] > 6.75) & (template[:, 2] < 0.55), template[:, 1], 9).argmin()
        found[side] = int(root), int(lobe)
    return found


def grid(points: np.ndarray, *, closed: bool) -> Shell:
    """A sheet through points (A, B, 3); ``closed`` joins the last column to the first."""
    rows, columns = points.shape[:2]
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    triangles = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    return points.reshape(-1, 3), triangles


def joined(shells: list[Shell]) -> Shell:
    """Several shells as one."""
    offsets = np.cumsum([0] + [len(vertices) for vertices, _ in shells[:-1]])
    triangles = [triangles + offset for (_, triangles), offset in zip(shells, offsets, strict=True)]
    return np.concatenate([vertices for vertices, _ in shells]), np.concatenate(triangles)


def tube(path: np.ndarray, radius: float | np.ndarray, *, closed: bool = False, sides: int = 7) -> Shell:
    """A round bar along a path (M, 3) of the given radius (one number, or (M,)); open ends are closed to a point."""
    if not closed:
        path = np.concatenate([path[:1], path, path[-1:]])
        radius = np.broadcast_to(radius, len(path) - 2)
        radius = np.r_[1e-4, radius, 1e-4]
    inner = path if closed else path[1:-1]
    if closed:
        tangent = np.roll(inner, -1, 0) - np.roll(inner, 1, 0)
    else:
        tangent = np.gradient(inner, axis=0)
        tangent = np.concatenate([tangent[:1], tangent, tangent[-1:]])
    tangent = tangent / (np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9)
    least = np.eye(3)[np.abs(tangent).max(0).argmin()]
    aside = np.cross(tangent, least)
    aside /= np.linalg.norm(aside, axis=1, keepdims=True) + 1e-9
    other = np.cross(tangent, aside)
    turn = np.arange(sides) / sides * 2 * np.pi
    ring = aside[:, None] * np.cos(turn)[:, None] + other[:, None] * np.sin(turn)[:, None]
    points = path[:, None] + ring * np.reshape(np.broadcast_to(radius, len(path)), (-1, 1, 1))
    return grid(np.concatenate([points, points[:1]]) if closed else points, closed=True)


def blob(middle: np.ndarray, radii: np.ndarray | float, power: float = 1.0) -> Shell:
    """An ellipsoid; a ``power`` below 1 makes it boxy."""
    fall = np.linspace(0.02, np.pi - 0.02, 11)[:, None]
    turn = (np.arange(12) / 12 * 2 * np.pi)[None]
    points = np.stack([np.sin(fall) * np.cos(turn), np.cos(fall) + 0 * turn, np.sin(fall) * np.sin(turn)], -1)
    points = np.sign(points) * np.abs(points) ** power
    return grid(points * radii + middle, closed=True)


_OUTLINES = {
    "round": (2.0, 0.88, 0.0),
    "oval": (2.3, 0.68, 0.0),
    "square": (4.5, 0.66, 0.0),
    "aviator": (2.5, 0.86, 0.22),
    "rimless": (3.2, 0.62, 0.0),
}
"""Exponent of the superellipse, height relative to width, and how far the lower half sags outwards, by shape."""


def spectacles(face: Face, *, shape: str, size: float, slip: float) -> tuple[list[np.ndarray], list[Shell], Shell]:
    """Rims, lenses and the bars of a pair of glasses that sits on the nose.

    Args:
        face: of the shot.
        shape: of the rims.
        size: width of a lens relative to the distance of the eyes.
        slip: how far they slid down the nose, in decimetres of the adult head.

    Returns:
        Closed paths (M, 3) of both rims, two lenses, and bridge, pads and temples as one shell.
    """
    unit, eyes, middle = face.unit, face.eyes, face.eyes.mean(0)
    exponent, tall, sag = _OUTLINES[shape]
    wide = size * _EYES_APART * unit / 2
    high = wide * tall
    centre_y = middle[1] - 0.045 * unit - slip * unit
    apart = max(float(eyes[1, 0] - eyes[0, 0]) / 2, wide + 0.065 * unit)
    low, top = centre_y - high, centre_y + high
    depth = face.landmarks[27, 2] + 0.01 * unit + 0.4 * slip * unit
    for sign in (-1, 1):
        near, far = sorted((middle[0] + sign * 0.24 * unit, middle[0] + sign * (apart + wide)))
        depth = max(depth, face.front(np.array([near, low]), np.array([far, top])) + 0.012 * unit)
    turn = np.arange(_AROUND) / _AROUND * 2 * np.pi
    c, s = np.cos(turn), np.sin(turn)
    x, y = np.sign(c) * np.abs(c) ** (2 / exponent), np.sign(s) * np.abs(s) ** (2 / exponent)
    y = np.where(y < 0, y * (1 + sag * (0.6 - 0.4 * x)), y * (1 - 0.1 * sag))

    def bent(points: np.ndarray) -> np.ndarray:
        aside = np.maximum(np.abs(points[:, 0] - middle[0]) / unit - 0.25, 0)
        points[:, 2] = depth - 0.28 * unit * aside**2 - 0.06 * (middle[1] - points[:, 1])
        return points

    rims, lenses = [], []
    for sign in (-1, 1):
        outline = np.stack([middle[0] + sign * (apart + x * wide), centre_y + y * high, 0 * x], 1)
        rims.append(bent(outline.copy()))
        heart = np.array([middle[0] + sign * apart, centre_y, 0])
        rings = [bent(heart + (outline - heart) * share) for share in (0.02, 0.35, 0.7, 1.0)]
        bulge = [0.02, 0.017, 0.01, 0.0]
        sheet = np.stack([ring + np.array([0, 0, out * unit]) for ring, out in zip(rings, bulge, strict=True)])
        lenses.append(grid(sheet[::-1] if sign > 0 else sheet, closed=True))
    return rims, lenses, joined(_bars(face, rims, gap=apart - wide, centre_y=centre_y, high=high, depth=depth))


def _bars(face: Face, rims: list[np.ndarray], *, gap: float, centre_y: float, high: float, depth: float) -> list[Shell]:
    """Bridge, nose pads and temples."""
    unit, middle = face.unit, face.eyes.mean(0)
    arch = np.linspace(-1, 1, 9)
    bridge_y = centre_y + 0.35 * high
    half, crossing = np.array([0.05, 0.06]) * unit, np.array([middle[0], bridge_y])
    nose = face.front(crossing - half, crossing + half)
    height = max(nose + 0.014 * unit, depth)
    reach = gap + 0.12 * (rims[1][:, 0].max() - middle[0] - gap) * 0.5
    bridge = np.stack([middle[0] + arch * reach, bridge_y + 0.03 * unit * (1 - arch**2),
                       depth + (height - depth) * (1 - arch**4)], 1)  # fmt: skip
    bars = [tube(bridge, 0.014 * unit)]
    for sign, rim, side in ((-1, rims[0], "right"), (1, rims[1], "left")):
        pad = np.array([middle[0] + sign * 0.12 * unit, centre_y - 0.10 * high, depth])
        around = (np.abs(face.skin[:, 0] - pad[0]) < 0.05 * unit) & (np.abs(face.skin[:, 1] - pad[1]) < 0.06 * unit)
        if around.any():
            pad[2] = min(pad[2], float(face.skin[around, 2].max()) + 0.01 * unit)
        bars.append(blob(pad, np.array([0.018, 0.045, 0.018]) * unit))
        hinge = rim[
            np.abs(np.arctan2(rim[:, 1] - centre_y - 0.35 * high, sign * (rim[:, 0] - rim[:, 0].mean()))).argmin()
        ]
        bars.append(tube(_temple(face, hinge, face.skin[ear_vertices()[side][0]], sign), 0.011 * unit))
    return bars


def _temple(face: Face, hinge: np.ndarray, ear: np.ndarray, sign: float) -> np.ndarray:
    """(M, 3) path from the rim's hinge along the side of the head to the ear, outside the skin, and down behind it."""
    unit = face.unit
    share = np.linspace(0, 1, 9)[:, None]
    outer = hinge + np.array([sign * 0.03, 0, -0.02]) * unit
    path = outer + (ear + np.array([sign * 0.02, 0.03, 0]) * unit - outer) * share
    beside = face.skin[(face.skin[:, 0] * sign > 0.3 * unit) & (np.abs(face.skin[:, 1] - ear[1]) < 0.25 * unit)]
    near = cKDTree(beside[:, 1:]).query(path[:, 1:], k=6, distance_upper_bound=0.15 * unit)[1]
    width = np.where(near < len(beside), (np.r_[beside[:, 0], 0] * sign)[near], -9).max(1) + 0.014 * unit
    bound = np.abs(ear[0]) + 0.05 * unit  # the ear's shell stands out farther and must not push the bar off
    path[:, 0] = sign * np.maximum(path[:, 0] * sign, np.minimum(width, bound))
    hook = path[-1] + np.array([[0, -0.03, -0.14], [-0.03 * sign, -0.16, -0.24]]) * unit
    return np.concatenate([hinge[None], path, hook])


@functools.cache
def _reach() -> np.ndarray:
    """(96, 49) distance of the template's skin from the head's middle, by azimuth and elevation, smoothed."""
    field = distance_field()
    azimuth, elevation = np.meshgrid(
        np.linspace(-np.pi, np.pi, 97)[:-1], np.linspace(-np.pi / 2, np.pi / 2, 49), indexing="ij"
    )
    direction = _direction(azimuth, elevation).reshape(-1, 3)
    far = np.linspace(0.4, 1.8, 57)
    points = (_HEAD_MIDDLE + direction[:, None] * far[:, None]).reshape(-1, 3)
    inside = sample(field.values[..., :1].astype(float), field.low, field.step, points)[:, 0].reshape(-1, 57) < 0
    last = np.where(inside.any(1), 56 - inside[:, ::-1].argmax(1), 0)
    return np.asarray(ndimage.gaussian_filter(far[last].reshape(96, 49), 1.2, mode=("wrap", "nearest")))


def _direction(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    flat = np.cos(elevation)
    return np.stack([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)], -1)


def _skull(azimuth: np.ndarray, elevation: np.ndarray, out: float | np.ndarray) -> np.ndarray:
    """(..., 3) points at a distance above the template's skin."""
    at = [(azimuth + np.pi) / (2 * np.pi) * 96, (elevation / np.pi + 0.5) * 48]
    far = ndimage.map_coordinates(_reach(), at, order=1, mode="grid-wrap")
    return _HEAD_MIDDLE + _direction(azimuth, elevation) * (far + out)[..., None]


_EDGES = {"cap": (7.90, 7.66, 7.35), "beanie": (7.84, 7.42, 7.05), "brimmed": (7.92, 7.66, 7.40)}
"""Height of a hat's edge on the template before, beside and behind the head."""


def hat(face: Face, *, kind: str, height: float, tilt: float) -> Shell:
    """A hat on the head.

    Args:
        face: of the shot.
        kind: a name of ``things.HAT_KINDS``.
        height: lift of the edge in decimetres of the adult head.
        tilt: turn about the line of sight in degrees.
    """
    shells = _headscarf() if kind == "headscarf" else _crowned(kind, height)
    vertices, triangles = joined(shells)
    angle = np.radians(0.0 if kind == "headscarf" else tilt)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return carry((vertices - _HEAD_MIDDLE) @ turn.T + _HEAD_MIDDLE, face.skin), triangles


def hat_edge(kind: str, azimuth: np.ndarray, height: float) -> np.ndarray:
    """Height of a hat's edge on the template at each azimuth around the head's middle."""
    front, side, back = _EDGES.get(kind, _EDGES["cap"])
    turned = np.cos(azimuth)
    return np.asarray(side + np.where(turned > 0, (front - side) * np.abs(turned) ** 1.5, 0)
                      + np.where(turned < 0, (back - side) * np.abs(turned) ** 1.5, 0) + height)  # fmt: skip


def _crowned(kind: str, height: float) -> list[Shell]:
    azimuth = np.arange(_AROUND) / _AROUND * 2 * np.pi - np.pi
    edge = hat_edge(kind, azimuth, height)
    lowest = np.arctan2(edge - _HEAD_MIDDLE[1], 0.86)
    share = np.linspace(0, 1, 14)[:, None]
    elevation = lowest + (np.pi / 2 - 0.01 - lowest) * share
    thick = {"cap": 0.10, "beanie": 0.11, "brimmed": 0.11}[kind]
    rise = {"cap": 0.08, "beanie": 0.16, "brimmed": 0.34}[kind]
    out = thick + rise * np.sin(np.pi / 2 * share) ** 2 + 0 * elevation
    dome = _skull(np.broadcast_to(azimuth, elevation.shape), elevation, out)
    if kind == "brimmed":
        dome[..., 1] = np.minimum(dome[..., 1], 8.72 + height)
    shells = [grid(dome, closed=True)]
    rim = dome[0]
    if kind == "beanie":
        hem = _skull(
            np.broadcast_to(azimuth, (5, _AROUND)), elevation[:5], np.array([0.06, 0.15, 0.16, 0.15, 0.1])[:, None]
        )
        shells.append(grid(hem, closed=True))
    elif kind == "cap":
        ahead = np.abs(azimuth) < 1.0
        base, turn = rim[ahead], azimuth[ahead]
        far = np.linspace(0, 1, 7)[:, None]
        reach = 0.72 * np.clip(1 - (turn / 1.0) ** 4, 0, 1) * far
        droop = -0.16 * far - 0.30 * base[:, 0] ** 2 * far
        visor = base + np.stack([0.10 * base[:, 0] * far, droop + 0.02, reach], -1)
        shells += [grid(visor, closed=False), grid(visor + np.array([0, 0.03, 0]), closed=False)]
    elif kind == "brimmed":
        far = np.linspace(0, 1, 6)[:, None]
        out_way = np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], 1)
        dip = -0.10 * far**2 * (0.4 + np.cos(azimuth) ** 2)
        brim = rim + out_way * (0.55 * far)[..., None] + dip[..., None] * [0, 1, 0]
        shells += [grid(brim, closed=True), grid(brim + np.array([0, 0.025, 0]), closed=True)]
    return shells


def tuck(strands: np.ndarray, skin: np.ndarray, *, kind: str, height: float) -> np.ndarray:
    """Press hair to the head where a hat covers it.

    Args:
        strands: (N, K, 3) curves on the resting head.
        skin: (W, 3) smooth skin vertices of the resting head.
        kind: of the hat.
        height: lift of its edge in decimetres of the adult head.
    """
    template = load_topology().smooth["skin"].template
    middle, mean, scale = likeness(template, skin)
    points = (strands - mean) / scale + middle
    missed = strands - carry(points.reshape(-1, 3), skin).reshape(strands.shape)
    points += missed / scale - _HEAD_MIDDLE
    far = np.linalg.norm(points, axis=2)
    azimuth = np.arctan2(points[..., 0], points[..., 2])
    elevation = np.arcsin(np.clip(points[..., 1] / np.maximum(far, 1e-6), -1, 1))
    if kind == "headscarf":
        turn = np.arctan2(points[..., 0], points[..., 1])
        covered = np.arccos(np.clip(points[..., 2] / np.maximum(far, 1e-6), -1, 1)) > _opening(turn) - 0.06
    else:
        covered = points[..., 1] + _HEAD_MIDDLE[1] > hat_edge(kind, azimuth, height)
    at = [(azimuth[covered] + np.pi) / (2 * np.pi) * 96, (elevation[covered] / np.pi + 0.5) * 48]
    limit = ndimage.map_coordinates(_reach(), at, order=1, mode="grid-wrap") + 0.02
    pressed = strands.copy()
    pressed[covered] += points[covered] * (np.minimum(limit / far[covered], 1) - 1)[:, None] * scale
    return pressed


def _opening(turn: np.ndarray) -> np.ndarray:
    """Angle between the line of sight and a headscarf's edge, by the direction around it (0 is up)."""
    up = np.cos(turn)
    return np.where(up > 0, 0.86 - 0.34 * up**2, 0.86 + 0.16 * up**2)


def _headscarf() -> list[Shell]:
    """Cloth around the head and under the chin with an opening for the face: rings about the line of sight."""
    turn = np.arange(_AROUND) / _AROUND * 2 * np.pi  # from the top of the head to its left side
    up = np.cos(turn)
    opening = _opening(turn)
    share = np.linspace(0, 1, 16)[:, None]
    away = opening + (np.pi - 0.05 - opening) * share
    direction = np.stack([np.sin(away) * np.sin(turn), np.sin(away) * up, np.cos(away)], -1)
    azimuth, elevation = np.arctan2(direction[..., 0], direction[..., 2]), np.arcsin(np.clip(direction[..., 1], -1, 1))
    out = 0.05 + 0.09 * np.sin(np.clip(share * 6, 0, np.pi / 2)) + 0.008 * np.sin(turn * 9 + share * 14)
    points = _skull(azimuth, elevation, out)
    points[..., 1] = np.maximum(points[..., 1], 5.75)
    return [grid(points, closed=True)]


@functools.cache
def _mask_sheet() -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Weights (A * B, W) of the mask's points over the skin, skin ids under it with the nearest point, and (A, B)."""
    template = load_topology().smooth["skin"].template
    azimuth, height = canonical(template)
    facing = vertex_normals(template, load_topology().smooth["skin"].triangles)
    outward = facing[:, 0] * np.sin(azimuth) + facing[:, 2] * np.cos(azimuth)
    radius = np.hypot(template[:, 0], template[:, 2] - AXIS_DEPTH)
    under = (np.abs(azimuth) < 1.15) & (height > 6.02) & (height < 7.3) & (outward > 0.05) & (radius > 0.5)
    ids = np.flatnonzero(under)
    across, down = np.linspace(-1.0, 1.0, 31), np.linspace(0, 1, 21)
    upper = 7.12 - 0.30 * np.abs(across) ** 1.3
    lower = 6.10 + 0.42 * np.abs(across) ** 2
    place = np.stack([np.broadcast_to(across, (21, 31)), upper + (lower - upper) * down[:, None]], -1).reshape(-1, 2)
    tree = cKDTree(np.c_[azimuth, height][ids])
    distance, near = tree.query(place, k=60)
    weights = np.exp(-((distance / 0.12) ** 2)) + 1e-6
    weights /= weights.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(place)), 60)
    matrix = sparse.csr_matrix((weights.ravel(), (rows, ids[near].ravel())), shape=(len(place), len(template)))
    return matrix, ids, cKDTree(place).query(np.c_[azimuth, height][ids])[1], (21, 31)


def mask(face: Face, *, low: bool) -> tuple[Shell, Shell]:
    """A mask over mouth and nose, and its two ear loops.

    Args:
        face: of the shot.
        low: whether the mask is pulled below the nose.
    """
    matrix, ids, owner, (rows, columns) = _mask_sheet()
    sheet = matrix @ face.skin
    shape = (rows, columns, 3)
    normal = np.cross(np.gradient(sheet.reshape(shape), axis=1), -np.gradient(sheet.reshape(shape), axis=0))
    normal = ndimage.gaussian_filter(normal, (2, 2, 0))
    normal = (normal / (np.linalg.norm(normal, axis=2, keepdims=True) + 1e-9)).reshape(-1, 3)
    above = ((face.skin[ids] - sheet[owner]) * normal[owner]).sum(1)
    push = np.zeros(len(sheet))
    np.maximum.at(push, owner, np.minimum(above, 0.4 * face.unit))
    push = ndimage.gaussian_filter(ndimage.maximum_filter(push.reshape(rows, columns), 7), 1.5)
    points = sheet + normal * (push.ravel()[:, None] + 0.02 * face.unit)
    points = ndimage.gaussian_filter(points.reshape(shape), (1.4, 1.4, 0), mode="nearest")
    across = np.linspace(-1, 1, columns)
    hang = np.clip(1 - np.abs(across) ** 2, 0, 1)[None, :, None] * [0, 0, 0.025 * face.unit]
    points = points + hang
    if low:
        points = points[8:]
    loops = []
    for side, column in (("right", 0), ("left", columns - 1)):
        sign = 1.0 if side == "left" else -1.0
        ear = face.skin[ear_vertices()[side][0]] + np.array([0.03 * sign, -0.12, 0.0]) * face.unit
        for start in (points[0, column], points[-1, column]):
            bow = (start + ear) / 2 + np.array([0.05 * sign, 0, 0]) * face.unit
            loops.append(tube(np.stack([start, bow, ear]), 0.012 * face.unit, sides=5))
    return grid(points, closed=False), joined(loops)


_FINGERS = (
    (0.27, 0.40, 0.64, 0.088),
    (0.09, 0.45, 0.74, 0.092),
    (-0.09, 0.43, 0.69, 0.088),
    (-0.26, 0.35, 0.54, 0.078),
)
"""Index to little finger: place of the knuckle (x, y), length and radius, of a left hand seen from its back."""

_PLACES = {
    "chin": (8, (0.30, -0.62), -22.0),
    "cheek": (13, (0.02, -0.42), -8.0),
    "mouth": (62, (0.42, -0.38), 48.0),
    "brow": (24, (0.40, 0.16), 74.0),
}
"""Landmark (of the left side), displacement of the palm's middle and turn towards the middle in degrees, by place."""


def hand(face: Face, *, place: str, side: float, turn: float, curl: float, shift: tuple[float, float]) -> Shell:
    """A hand before the face, its palm to the skin, moved forward until it only just touches.

    Args:
        face: of the shot.
        place: a name of ``things.HAND_PLACES``.
        side: 1 for the subject's left hand, -1 for the right.
        turn: degrees away from the usual turn.
        curl: bend of the fingers, 0 to 1.
        shift: (outwards, up) displacement in decimetres of the adult head.
    """
    unit = face.unit
    shells = [blob(np.array([0.0, 0.0, 0.0]), np.array([0.37, 0.50, 0.13]), 0.6)]
    for x, y, long, thick in _FINGERS:
        shells.append(_finger(np.array([x, y - 0.1, 0.02]), long + 0.1, thick, np.array([0.12 * x, 1.0, 0.0]), curl))
    shells.append(_finger(np.array([0.22, -0.22, -0.03]), 0.66, 0.098, np.array([0.62, 0.8, -0.1]), 0.4 * curl))
    arm = np.array([[0.0, -0.3, 0.0], [0.01, -0.6, 0.02], [0.02, -1.2, 0.1], [0.04, -2.2, 0.3]])
    shells.append(tube(arm, np.array([0.26, 0.23, 0.27, 0.36]), sides=14))
    vertices, triangles = joined(shells)
    landmark, offset, usual = _PLACES[place]
    mirrored = {8: 8, 13: 3, 62: 62, 24: 19}[landmark]
    angle = np.radians(usual + turn)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = vertices @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]).T
    turned = turned * [side, 1, 1] * unit
    anchor = face.landmarks[landmark if side > 0 else mirrored]
    aside, above = side * (offset[0] + shift[0]) * unit, (offset[1] + shift[1]) * unit
    moved = turned + np.array([anchor[0] + aside, anchor[1] + above, 0])
    return moved + np.array([0, 0, _contact(face, moved)]), triangles if side > 0 else triangles[:, ::-1]


def _finger(knuckle: np.ndarray, long: float, thick: float, way: np.ndarray, curl: float) -> Shell:
    """Three phalanges that bend towards the palm (-z)."""
    way = way / np.linalg.norm(way)
    bends = np.cumsum(np.array([0.15, 0.5, 0.45]) * (0.25 + 1.3 * curl))
    points, here = [knuckle], knuckle
    for share, bend in zip((0.45, 0.31, 0.24), bends, strict=True):
        step = way * np.cos(bend) - np.array([0, 0, np.sin(bend)])
        points += [here + step * long * share * part for part in (0.5, 1.0)]
        here = points[-1]
    tip = points[-1] + (points[-1] - points[-2]) * 0.35
    width = thick * np.array([1.05, 0.98, 1.03, 0.94, 0.98, 0.93, 0.82, 0.45])
    return tube(np.array([*points, tip]), width, sides=10)


def _contact(face: Face, vertices: np.ndarray) -> float:
    """Shift along z that puts a thing just before the skin."""
    step = 0.1 * face.unit
    low = face.landmarks[:, :2].min(0) - 1.2 * face.unit
    front = face.skin[face.normals[:, 2] > -0.2]
    cells = np.floor((front[:, :2] - low) / step).astype(int)
    size = 48
    inside = ((cells >= 0) & (cells < size)).all(1)
    depth = np.full((size, size), -9.0)
    np.maximum.at(depth, tuple(cells[inside].T), front[inside, 2])
    depth = ndimage.maximum_filter(depth, 2)
    own = np.clip(np.floor((vertices[:, :2] - low) / step).astype(int), 0, size - 1)
    needed = depth[tuple(own.T)] - vertices[:, 2]
    # A few vertices may sink in: flesh gives way where a hand rests.
    touching = needed[needed > -5]
    return float(np.quantile(touching, 0.985)) if len(touching) else float(face.landmarks[33, 2])


def earring(face: Face, *, kind: str, side: str) -> Shell:
    """A stud, hoop or drop at one ear's lobe."""
    unit, sign = face.unit, 1.0 if side == "left" else -1.0
    lobe = face.skin[ear_vertices()[side][1]] + np.array([0.015 * sign, 0.03, 0.02]) * unit
    if kind == "stud":
        return blob(lobe, 0.034 * unit)
    if kind == "hoop":
        turn = np.arange(20) / 20 * 2 * np.pi
        ring = np.stack([0.02 * np.cos(turn), np.cos(turn) - 1, np.sin(turn)], 1) * 0.12 * unit
        return tube(lobe + ring, 0.011 * unit, closed=True, sides=6)
    drop = blob(lobe - np.array([0, 0.17, 0]) * unit, np.array([0.035, 0.07, 0.035]) * unit)
    return joined([drop, tube(np.stack([lobe, lobe - np.array([0, 0.12, 0]) * unit]), 0.006 * unit, sides=5)])
