"""Finds faces in a picture and lays a mesh of 468 points over each.

Two networks of MediaPipe (Apache-2.0) run in torch: the full-range face detector (192 x 192, one anchor a cell of a
48 x 48 grid) and the face mesh. The detector sees the whole picture and, in large pictures, overlapping tiles; the mesh
is read twice, the second time from a crop that the first mesh placed.

Shapes      N faces   T tiles   A = 2,304 anchors   M = 468 mesh points   H, W picture height, width
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import nms

from semeia import parts
from semeia.nn.tflite import TFLiteGraph
from semeia.ops.faces import crop, invert, transform_points
from semeia.records import Box, Face

_SIDE = 192
"""Side in pixels of the input of both networks."""

_CELLS = 48
"""The detector's anchors are the cell centres of a 48 x 48 grid over its input."""

_TILE_OVERLAP = 0.25
"""Part of a tile's side that the next tile shows again: any smaller face is whole in one of them."""

_SMALLEST_TILE = 240
"""Pixels; a smaller tile would mostly be enlarged for the detector, which shows it nothing new."""

_DETECTION_SIDE = 2048
"""Pixels; larger pictures are reduced by the whole number that keeps their longer side above this before detection."""

_SMALL_FACE = 1 / 6
"""Part of a tile's side; a smaller face suggests that others are too small for these tiles."""

_SAME_FACE = 0.3
"""Overlap (intersection over union) from which two finds are one face."""

_MESH_ROOM = 1.5
"""Side of the mesh network's crop over the longer side of the face, as the network was trained."""

_MOVED = (0.2, 0.15, math.radians(15))
"""A face is read a second time where it moved, since its place was known, by more than these: a part of the side of the
crop, a part of its size, an angle. Up to there one reading of a photo's face lay within 2 % of its width."""

_BATCH = 16
"""Pictures that go through a network together; more would only take memory."""

_CPU = torch.device("cpu")

_OUTER_EYE_CORNERS = (33, 263)
"""Mesh points, left and right of the picture, whose line gives the roll."""


class FaceFinder:
    """Finds the faces of a picture.

    The two networks are fetched on first use. The detector takes pictures (T, 3, 192, 192) in [-1, 1] and gives, for
    each anchor, box centre, width, height and six key points in input pixels relative to the anchor (T, A, 16), and a
    score logit (T, A, 1). The mesh network takes pictures (N, 3, 192, 192) in [0, 1] and gives points in input pixels
    (N, 3 M, 1, 1) and a presence logit (N, 1, 1, 1).

    Args:
        threshold: Detector probability from which a face counts as found.
        presence: Mesh presence below which a found face is dropped as a false alarm.
        device: Where the networks run, in float32.

    Raises:
        SemeiaError: A network is not in the cache and cannot be fetched.
    """

    def __init__(self, *, threshold: float = 0.5, presence: float = 0.3, device: torch.device = _CPU) -> None:
        self.detector = TFLiteGraph(parts.fetch("face-detector")).eval().to(device)
        self.mesher = TFLiteGraph(parts.fetch("face-mesh")).eval().to(device)
        self.device = device
        self.threshold = threshold
        self.presence = presence

    @torch.inference_mode()
    def find(self, image: np.ndarray, *, closely: bool = True) -> tuple[Face, ...]:
        """Finds all faces, the largest first.

        Args:
            image: (H, W, 3) uint8, RGB.
            closely: Look at tiles of the picture too, in which small faces show. Without them it costs a fifth.

        Returns:
            Faces whose box encloses the mesh (forehead to chin); at the border of the picture it may reach outside.
        """
        found = self._detect(image, closely=closely)
        if len(found.scores) == 0:
            return ()
        meshes, _ = self._mesh(image, found.places())
        meshes, presences = self._mesh(image, [_place(mesh) for mesh in meshes])

        boxes = np.concatenate([meshes[..., :2].min(axis=1), meshes[..., :2].max(axis=1)], axis=1)  # (N, 4)
        sure = np.flatnonzero(presences >= self.presence)
        # Two finds that were apart, such as both halves of a face cut by a tile, may have led to the same mesh.
        distinct = sure[_distinct(boxes[sure], found.scores[sure])]
        faces = [_face(meshes[i], score=found.scores[i], presence=presences[i]) for i in distinct]
        return tuple(sorted(faces, key=lambda face: (-face.box.width * face.box.height, face.box.x, face.box.y)))

    @torch.inference_mode()
    def follow(self, image: np.ndarray, meshes: Sequence[np.ndarray]) -> tuple[Face | None, ...]:
        """Finds faces again in the next frame of a clip, near where they were, without the detector.

        Args:
            image: (H, W, 3) uint8, RGB.
            meshes: Of each face (M, 3), in pixels, as it was in the frame before.

        Returns:
            For each mesh the face as it is now, with its presence for a score; None where no face is there any more.
        """
        if not meshes:
            return ()
        places = [_place(mesh) for mesh in meshes]
        now, presences = self._mesh(image, places)
        moved = [i for i, mesh in enumerate(now) if _moved(places[i], _place(mesh))]
        if moved:
            now[moved], presences[moved] = self._mesh(image, [_place(now[i]) for i in moved])
        return tuple(
            _face(mesh, score=presence, presence=presence) if presence >= self.presence else None
            for mesh, presence in zip(now, presences, strict=True)
        )

    def _detect(self, image: np.ndarray, *, closely: bool) -> _Found:
        """Looks at the whole picture, then, if ``closely``, at tiles of it while that promises more."""
        block = max(1, max(image.shape[:2]) // _DETECTION_SIDE)
        reduced = np.asarray(Image.fromarray(image).reduce(block))
        height, width = reduced.shape[:2]
        found = self._detect_in(reduced, tiles(width, height, across=1))
        for across in (2, 4, 8) if closely else ():
            squares = tiles(width, height, across=across)
            side = squares[0, 2]
            if side < _SMALLEST_TILE or not _worth_a_closer_look(found, across=across, side=side):
                break
            finer = self._detect_in(reduced, squares)
            found = _Found(*(np.concatenate(pair) for pair in zip(found, finer, strict=True)))
            found = found.take(_distinct(found.boxes, found.scores))
        return _Found(boxes=found.boxes * block, scores=found.scores, eyes=found.eyes * block)

    def _detect_in(self, image: np.ndarray, squares: np.ndarray) -> _Found:
        """Finds faces in squares of the picture (T, 3): left, top, side."""
        scales = _SIDE / squares[:, 2]
        matrices = [
            np.array([[scale, 0, -scale * x], [0, scale, -scale * y]])
            for scale, (x, y, _) in zip(scales, squares, strict=True)
        ]
        views = np.stack([crop(image, matrix, size=_SIDE, fill="black") for matrix in matrices])  # (T, 192, 192, 3)
        regressed, logits = _run(self.detector, views, device=self.device, scale=1 / 127.5, shift=-1)
        scores = torch.sigmoid(logits[..., 0].double()).numpy()  # (T, A)
        which, anchor = np.nonzero(scores > self.threshold)
        numbers = regressed[which, anchor].double().numpy()  # (N, 16)

        cell = _SIDE / _CELLS
        origin = np.stack([anchor % _CELLS + 0.5, anchor // _CELLS + 0.5], axis=1) * cell  # (N, 2)
        centre, half = origin + numbers[:, :2], numbers[:, 2:4] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1)  # (N, 4) in input pixels
        whole = _whole(boxes, squares[which], (image.shape[1], image.shape[0]))

        shift, scale = squares[which, None, :2], 1 / scales[which, None, None]
        found = _Found(
            boxes=(boxes.reshape(-1, 2, 2) * scale + shift).reshape(-1, 4),
            scores=scores[which, anchor],
            eyes=(origin[:, None] + numbers[:, 4:8].reshape(-1, 2, 2)) * scale + shift,
        ).take(whole)
        return found.take(_distinct(found.boxes, found.scores))

    def _mesh(self, image: np.ndarray, places: list[_Place]) -> tuple[np.ndarray, np.ndarray]:
        """Meshes (N, M, 3) in pixels of the picture, with z in the same unit, and presences (N,)."""
        matrices = [place.matrix() for place in places]
        crops = np.stack([crop(image, matrix, size=_SIDE) for matrix in matrices])  # (N, 192, 192, 3)
        raw_points, logits = _run(self.mesher, crops, device=self.device, scale=1 / 255)
        points = raw_points.reshape(len(places), -1, 3).double().numpy()  # (N, 3 M, 1, 1) -> (N, M, 3)
        presences = torch.sigmoid(logits.double()).reshape(-1).numpy()
        meshes = [
            np.column_stack([transform_points(invert(matrix), mesh[:, :2]), mesh[:, 2] * place.side / _SIDE])
            for matrix, place, mesh in zip(matrices, places, points, strict=True)
        ]
        return np.stack(meshes), presences


def tiles(width: int, height: int, *, across: int) -> np.ndarray:
    """Overlapping squares that cover a picture.

    Args:
        width: Width of the picture in pixels.
        height: Its height.
        across: How many squares stand along the longer side; 1 is one square around the whole picture.

    Returns:
        (T, 3): left, top and side in pixels. Neighbours share at least a quarter of their side; a square larger than
        the picture's shorter side is centred on it.
    """
    longer = max(width, height)
    side = longer if across == 1 else longer * (1 + _TILE_OVERLAP) / across
    columns, rows = (_starts(length, side) for length in (width, height))
    return np.array([(x, y, side) for y in rows for x in columns], dtype=float)


def _starts(length: int, side: float) -> np.ndarray:
    """Where tiles begin along one side of the picture."""
    if side >= length:
        return np.array([(length - side) / 2])
    count = math.ceil((length - side) / (side * (1 - _TILE_OVERLAP))) + 1
    return np.linspace(0, length - side, count)


class _Found(NamedTuple):
    """What the detector found, in pixels."""

    boxes: np.ndarray
    """(N, 4): left, top, right, bottom."""
    scores: np.ndarray
    """(N,)."""
    eyes: np.ndarray
    """(N, 2, 2): the eye on the left of the picture, then the other."""

    @property
    def sizes(self) -> np.ndarray:
        """Longer sides of the boxes (N,)."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1)

    def take(self, chosen: np.ndarray) -> _Found:
        """The finds with the given numbers."""
        return _Found(*(values[chosen] for values in self))

    def places(self) -> list[_Place]:
        """Where the mesh network should look."""
        centres = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        across = self.eyes[:, 1] - self.eyes[:, 0]
        angles = np.arctan2(across[:, 1], across[:, 0])
        return [_Place(*place) for place in zip(centres, self.sizes * _MESH_ROOM, angles, strict=True)]


class _Place(NamedTuple):
    """A turned square around a face: centre (2,), side in pixels, angle in radians from the x axis to the eye line."""

    centre: np.ndarray
    side: float
    angle: float

    def matrix(self) -> np.ndarray:
        """The similarity (2, 3) from the picture to the mesh network's input."""
        scale = _SIDE / self.side
        cos, sin = scale * math.cos(self.angle), scale * math.sin(self.angle)
        linear = np.array([[cos, sin], [-sin, cos]])
        return np.column_stack([linear, _SIDE / 2 - linear @ self.centre])


def _place(mesh: np.ndarray) -> _Place:
    """The turned square that just holds a mesh (M, 3), enlarged as the mesh network expects."""
    left, right = mesh[list(_OUTER_EYE_CORNERS), :2]
    angle = math.atan2(right[1] - left[1], right[0] - left[0])
    axes = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned = mesh[:, :2] @ axes.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    return _Place(centre=(low + high) / 2 @ axes, side=float((high - low).max()) * _MESH_ROOM, angle=angle)


def _moved(before: _Place, now: _Place) -> bool:
    """Whether a face is elsewhere than its crop was made for."""
    shift, growth, turn = _MOVED
    apart = float(np.linalg.norm(now.centre - before.centre))
    turned = math.remainder(now.angle - before.angle, math.tau)
    return apart > shift * before.side or abs(now.side / before.side - 1) > growth or abs(turned) > turn


def _face(mesh: np.ndarray, *, score: float, presence: float) -> Face:
    """A face whose box just holds its mesh (M, 3)."""
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    box = Box(*(float(v) for v in (*low, *(high - low))))
    return Face(box=box, score=float(score), presence=float(presence), mesh=mesh)


def _worth_a_closer_look(found: _Found, *, across: int, side: float) -> bool:
    """Whether tiles of a side, ``across`` of them along the picture, may show faces that coarser ones did not.

    The first tiles are few and always worth it. The next are so if nothing was found yet or if the smallest face was
    small for the tiles before (twice this side); the last, many, only in the second case.
    """
    if across == 2:
        return True
    if len(found.scores) == 0:
        return across == 4
    return bool(found.sizes.min() < 2 * side * _SMALL_FACE)


def _whole(boxes: np.ndarray, squares: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Numbers of the boxes (N, 4), in input pixels, that no inner edge of their tile (N, 3) cuts.

    The neighbouring tile shows such a face whole; at the border of the picture there is no neighbour.
    """
    start, side = squares[:, :2], squares[:, 2:]
    cut_low = (boxes[:, :2] < 1) & (start > 0)
    cut_high = (boxes[:, 2:] > _SIDE - 1) & (start + side < size)
    return np.flatnonzero(~(cut_low | cut_high).any(axis=1))


def _distinct(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Numbers of the boxes (N, 4) that overlap no better one, best first."""
    return nms(torch.from_numpy(boxes), torch.from_numpy(scores), _SAME_FACE).numpy()


def _run(
    network: TFLiteGraph, pictures: np.ndarray, *, device: torch.device, scale: float, shift: float = 0.0
) -> list[Tensor]:
    """Outputs of a network that sees ``scale * picture + shift``, for pictures (N, H, W, 3) uint8; N comes first."""
    values = torch.from_numpy(pictures).permute(0, 3, 1, 2)  # (N, H, W, 3) -> (N, 3, H, W)
    outputs = [network(batch.to(device).float() * scale + shift) for batch in values.split(_BATCH)]
    return [torch.cat(batches).cpu() for batches in zip(*outputs, strict=True)]
