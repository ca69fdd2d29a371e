"""What never changes about the head: its parts, their smooth surfaces, landmarks and canonical coordinates.

Everything here is computed once a process from the packed mesh. Subdivision is linear in the vertices, so one
Catmull-Clark level is one sparse matrix a part. "Canonical" is the place of a surface point on the undeformed head:
azimuth around a vertical axis (radians, positive to the subject's left) and height (decimetres); textures live there.

Shapes: V packed vertices, W vertices of a smooth part, T triangles, Q quads, N any number of points.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from semeia.data.synthetic.faces.pack import Pack, load_pack

SMOOTH_PARTS = ("skin", "cloth", "cavity", "upper_teeth", "lower_teeth", "tongue")
AXIS_DEPTH = 0.35  # z of the vertical axis of the canonical coordinates
AZIMUTH_LIMIT = 1.45  # radians; the texture covers -limit ... limit
HEIGHT_LIMITS = (5.4, 8.55)

BROW = (2614, 2611, 2610, 2612, 2613)  # subject's left brow, from the nose outwards
_EYE = (3941, 3925, 3930, 3935, 3938)  # upper inner, upper outer, outer corner, lower outer, lower inner
_NOSTRILS = (2750, 2751, 343)  # wing, half way, tip of the columella
_UPPER_LIP_LINE = (2841, 2846, 4264, 2801)  # from the philtrum outwards
MIDDLE_UPPER_LIP, MIDDLE_LOWER_LIP = 455, 492
UPPER_LID_LINE = (3943, 3942, 3941, 3923, 3924, 3925, 3926, 3927, 3930)
LOWER_LID_LINE = (3930, 3933, 3934, 3935, 3936, 3937, 3938, 3939, 3940)


@dataclass(frozen=True)
class SmoothPart:
    """One part of the head after one Catmull-Clark level.

    Attributes:
        matrix: sparse (W, V); ``matrix @ vertices`` are the smooth vertices.
        triangles: (T, 3) ids into the smooth vertices.
        template: (W, 3) smooth vertices of the undeformed head.
    """

    matrix: Any
    triangles: np.ndarray
    template: np.ndarray


@dataclass(frozen=True)
class Topology:
    """The fixed structure of the head; every id points into the packed vertices.

    Attributes:
        smooth: the parts of ``SMOOTH_PARTS``.
        landmarks: (68,) ids in iBUG order as seen in the picture (the subject's right side comes first).
        eyeballs: ids of the left and right eyeball.
        lids: ids of the skin around the left and right eyeball.
        lashes: (T, 3) triangles of all eyelashes.
        mirror: (V,) id of the mirrored skin vertex; 0 where a vertex is no skin.
    """

    pack: Pack
    smooth: Mapping[str, SmoothPart]
    landmarks: np.ndarray
    eyeballs: Mapping[str, np.ndarray]
    lids: Mapping[str, np.ndarray]
    lashes: np.ndarray
    mirror: np.ndarray


def canonical(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth (radians) and height (decimetres) of template points (N, 3)."""
    return np.arctan2(points[:, 0], np.maximum(points[:, 2] - AXIS_DEPTH, -2)), points[:, 1]


def texture_coordinates(points: np.ndarray) -> np.ndarray:
    """(N, 2) in [0, 1] of template points (N, 3): u grows to the subject's left, v grows down."""
    azimuth, height = canonical(points)
    low, high = HEIGHT_LIMITS
    uv = np.stack([(azimuth + AZIMUTH_LIMIT) / (2 * AZIMUTH_LIMIT), (high - height) / (high - low)], 1)
    return np.clip(uv, 0.001, 0.999)


def triangulate(quads: np.ndarray) -> np.ndarray:
    """(2Q, 3) triangles of (Q, 4) quads."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(W, 3) unit normals, weighted by area, of (W, 3) vertices."""
    corner = vertices[triangles]  # (T, 3, 3)
    face = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    flat, count = triangles.T.ravel(), len(vertices)
    total = np.stack([np.bincount(flat, np.tile(face[:, axis], 3), count) for axis in range(3)], 1)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (3,) and radius of the sphere through points (N, 3), by least squares."""
    system = np.c_[2 * points, np.ones(len(points))]
    solution = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + (solution[:3] ** 2).sum()))


def catmull_clark(count: int, quads: np.ndarray) -> tuple[Any, np.ndarray]:
    """One Catmull-Clark level as a matrix (Catmull and Clark 1978, with boundary edges kept as cubic splines).

    Args:
        count: number of vertices.
        quads: (Q, 4) ids below ``count``.

    Returns:
        Sparse matrix (count + edges + Q, count) and the (4Q, 4) new quads.
    """
    faces = len(quads)
    ends = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)  # side k of a quad joins corners k and k + 1
    edges, side_edge = np.unique(np.sort(ends, 1), axis=0, return_inverse=True)
    side_edge = side_edge.reshape(faces, 4)
    of_face = np.repeat(np.arange(faces), 4)

    def incidence(rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> Any:
        return sparse.csr_matrix((np.ones(rows.size), (rows.ravel(), columns.ravel())), shape=(height, width))

    face_point = 0.25 * incidence(of_face, quads, faces, count)
    edge_face = incidence(side_edge, of_face, len(edges), faces)
    middle = 0.5 * incidence(np.repeat(np.arange(len(edges)), 2), edges, len(edges), count)
    border_edge = np.asarray(edge_face.sum(1)).ravel() != 2
    inner, border = sparse.diags((~border_edge).astype(float)), sparse.diags(border_edge.astype(float))
    edge_point = inner @ (0.5 * middle + 0.25 * edge_face @ face_point) + border @ middle

    vertex_face = incidence(quads, of_face, count, faces)
    vertex_edge = incidence(edges, np.repeat(np.arange(len(edges)), 2), count, len(edges))
    valence = np.maximum(np.asarray(vertex_edge.sum(1)).ravel(), 1)
    touching = np.maximum(np.asarray(vertex_face.sum(1)).ravel(), 1)
    smooth = (
        sparse.diags(1 / (valence * touching)) @ vertex_face @ face_point
        + sparse.diags(2 / valence**2) @ vertex_edge @ middle
        + sparse.diags((valence - 3) / valence)
    )
    border_sides = vertex_edge @ border
    border_count = np.asarray(border_sides.sum(1)).ravel()
    rim = 0.5 * sparse.identity(count) + 0.5 * sparse.diags(1 / np.maximum(border_count, 1)) @ border_sides @ middle
    on_border = (border_count > 0).astype(float)
    vertex_point = sparse.diags(1 - on_border) @ smooth + sparse.diags(on_border) @ rim

    centre = count + len(edges) + np.arange(faces)
    children = [
        np.stack([quads[:, k], count + side_edge[:, k], centre, count + side_edge[:, k - 1]], 1) for k in range(4)
    ]
    return sparse.vstack([vertex_point, edge_point, face_point]).tocsr(), np.concatenate(children)


def _smooth_part(pack: Pack, quads: np.ndarray) -> SmoothPart:
    used, local = np.unique(quads, return_inverse=True)
    matrix, fine = catmull_clark(len(used), local.reshape(quads.shape))
    count = len(pack.vertices)
    select = sparse.csr_matrix((np.ones(len(used)), (np.arange(len(used)), used)), shape=(len(used), count))
    full = (matrix @ select).tocsr().astype(np.float32)
    return SmoothPart(full, triangulate(fine), full @ pack.vertices)


def nearest_in_front(x: float, y: float, *, lowest: float = 0.5, depth: float = 2e-4) -> int:
    """Id of the skin vertex nearest to (x, y) in the frontal view; ``depth`` prefers vertices nearer to the viewer."""
    pack = load_pack()
    skin = _skin_vertices(pack)
    v = pack.vertices[skin]
    distance = (v[:, 0] - x) ** 2 + (v[:, 1] - y) ** 2 - depth * v[:, 2]
    return int(skin[np.where(v[:, 2] < lowest, np.inf, distance).argmin()])


def _skin_vertices(pack: Pack) -> np.ndarray:
    return np.unique(pack.quads[np.isin(pack.parts, ["skin", "cloth"])])


def _mirror(pack: Pack) -> np.ndarray:
    from scipy.spatial import cKDTree

    skin = _skin_vertices(pack)
    table = np.zeros(len(pack.vertices), int)
    table[skin] = skin[cKDTree(pack.vertices[skin]).query(pack.vertices[skin] * [-1, 1, 1])[1]]
    return table


def _jaw(pack: Pack) -> list[int]:
    """Nine ids along the subject's left jaw, from the ear to the chin: the outermost vertex along each of nine rays."""
    skin = _skin_vertices(pack)
    v = pack.vertices[skin]
    facing = vertex_normals(pack.vertices, triangulate(pack.quads[np.isin(pack.parts, ["skin", "cloth"])]))[skin, 2]
    below_ear = (facing > 0.05) & (v[:, 1] < 7.35) & (v[:, 1] > 6.15) & (np.abs(v[:, 0]) <= 0.76)
    front = (v[:, 2] > 0.35 + (6.9 - v[:, 1]) * 0.85) & (v[:, 2] > 0.3)
    ids, offset = skin[below_ear & front], v[below_ear & front, :2] - [0, 6.95]
    jaw = []
    for angle in np.radians(np.linspace(8, -90, 9)):
        ray = np.array([np.cos(angle), np.sin(angle)])
        along = offset @ ray
        aside = np.abs(offset[:, 0] * ray[1] - offset[:, 1] * ray[0])
        jaw.append(int(ids[np.where(along < 0, -9, along - 6 * aside).argmax()]))
    return jaw


def _landmarks(pack: Pack, mirror: np.ndarray) -> np.ndarray:
    """(68,) ids: jaw, brows, nose, eyes, outer lips, inner lips; left ids are listed, right ids are their mirrors."""
    jaw, right = _jaw(pack), lambda ids: [int(mirror[i]) for i in ids]
    upper_in, upper_out, corner, lower_out, lower_in = _EYE
    inner_corner = nearest_in_front(0.176, 7.268)
    bridge = [nearest_in_front(0, y, lowest=1.0, depth=0.05) for y in (7.27, 7.15, 7.03, 6.91)]
    outer = [nearest_in_front(0.252, 6.608), 2801, 2846]  # corner, between, peak of Cupid's bow
    lower = [nearest_in_front(0.185, 6.535), nearest_in_front(0.10, 6.50)]
    inner, inner_upper, inner_lower = nearest_in_front(0.225, 6.607), 2857, 2867
    return np.array(
        right(jaw[:-1]) + jaw[::-1]
        + right(BROW[::-1]) + list(BROW)
        + bridge + right(_NOSTRILS[:2]) + [_NOSTRILS[2], *_NOSTRILS[1::-1]]
        + right([corner, upper_out, upper_in, inner_corner, lower_in, lower_out])
        + [inner_corner, upper_in, upper_out, corner, lower_out, lower_in]
        + right(outer) + [MIDDLE_UPPER_LIP, *outer[::-1]]
        + lower + [MIDDLE_LOWER_LIP, *right(lower[::-1])]
        + right([inner, inner_upper]) + [474, inner_upper, inner] + [inner_lower, 493, *right([inner_lower])]
    )  # fmt: skip


def lip_outlines() -> tuple[Sequence[int], Sequence[int]]:
    """Ids along the upper lip's edge from the right to the left corner, and along the lower lip's edge back."""
    mirror = load_topology().mirror
    corner = nearest_in_front(0.252, 6.608)
    upper = [*_UPPER_LIP_LINE, corner]
    lower = [corner, 2831, nearest_in_front(0.19, 6.535), nearest_in_front(0.145, 6.508), nearest_in_front(0.09, 6.49)]
    left_to_right = [*lower, MIDDLE_LOWER_LIP, *(int(mirror[i]) for i in lower[::-1])]
    return [*(int(mirror[i]) for i in upper[::-1]), MIDDLE_UPPER_LIP, *upper], left_to_right


def _around_eyeball(pack: Pack, eyeball: np.ndarray) -> np.ndarray:
    centre, radius = fit_sphere(pack.vertices[eyeball])
    offset = pack.vertices - centre
    close = (np.linalg.norm(offset, axis=1) < radius * 1.55) & (offset[:, 2] > 0.02)
    return np.intersect1d(np.flatnonzero(close), np.unique(pack.quads[pack.parts != "cloth"]))


@functools.cache
def load_topology() -> Topology:
    """The head's structure, computed once a process."""
    pack = load_pack()
    mirror = _mirror(pack)
    eyeballs = {side: np.unique(pack.quads[pack.parts == f"eye_{side}"]) for side in ("left", "right")}
    skin = _skin_vertices(pack)
    return Topology(
        pack=pack,
        smooth={part: _smooth_part(pack, pack.quads[pack.parts == part]) for part in SMOOTH_PARTS},
        landmarks=_landmarks(pack, mirror),
        eyeballs=eyeballs,
        lids={side: np.intersect1d(_around_eyeball(pack, ids), skin) for side, ids in eyeballs.items()},
        lashes=triangulate(pack.quads[pack.parts == "lash"]),
        mirror=mirror,
    )
