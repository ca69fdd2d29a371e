"""Candidate lesions in a user's CT scan: read, find boxes slice by slice, join them.

    scan -> key slices and what lies around them -> detector -> boxes on slices -> lesions

A scan whose slices lie as far apart as the detector's, or further, has each slice as a key slice. A thinner one is read
in steps of the detector's interval, and what is found there stands on the nearest slice.

Shapes      Z slices of the scan   K key slices   P positions along z   S slices of an image   H, W image   n boxes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from semeia import checkpoint
from semeia.data.slices import Framing, moved_boxes
from semeia.detection.design import Design
from semeia.detection.lesion_task import LesionTask
from semeia.media.volumes import Volume, open_volume
from semeia.metrics.froc import RATES
from semeia.ops.lesion_groups import lesion_groups
from semeia.predict.faces import pick_device
from semeia.records import Lesion, ScanReading, SemeiaError, SliceBox

OnSlice = Callable[[int, int], None]
"""Takes how many key slices are done, and how many there are."""

DETECTORS = ("uld", "bounding_map", "satr", "mo_scl", "three_addons")
"""Systems whose weights find lesions."""

TOGETHER = {"cpu": 4, "cuda": 32}
"""Slices that the trunk sees at once, by kind of device."""


@dataclass(frozen=True)
class Plan:
    """Where the detector looks.

    ``positions`` (P,) lie along z, in slices; ``around`` (K, S) are places among them, the key's at S // 2; ``keys``
    (K,) are the slices that the key slices stand on.
    """

    positions: np.ndarray
    around: np.ndarray
    keys: np.ndarray


class Boxes(NamedTuple):
    """Boxes (n, 4) in pixels of axial slices (n,), with their scores (n,)."""

    slices: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


def planned(count: int, interval: float, *, slices: int, step: float, wanted: range | None = None) -> Plan:
    """Which positions the detector looks at.

    Args:
        count: Z.
        interval: Millimetres from slice to slice; not above 0 or NaN: each slice stands for its neighbours too.
        slices: S.
        step: Millimetres from one of the S to the next.
        wanted: Slices that are searched; all by default.
    """
    wanted = range(count) if wanted is None else wanted
    if not interval > 0 or count == 1:
        keys = np.array(wanted, float)
        around = np.repeat(keys[:, None], slices, 1)
    else:
        ratio = step / interval
        if ratio > 1:
            keys = np.arange(wanted.start, max(wanted.stop - 1, wanted.start) + 1e-6, ratio)
        else:
            keys = np.array(wanted, float)
        around = keys[:, None] + (np.arange(slices) - slices // 2) * ratio  # (K, S)
        # Beyond the scan, what lies nearest toward the key: see data.slices.
        around = np.round(around.clip(0, count - 1), 4)
    positions, places = np.unique(around, return_inverse=True)
    return Plan(positions, places.reshape(around.shape), np.round(keys).astype(int))


class LesionFinder:
    """A detector, loaded once and used for many scans.

    Args:
        model: A trained detector.
        weights: Name of the weights.
        device: Where the model runs.
    """

    def __init__(self, model: LesionTask, *, weights: str, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.weights, self.device = weights, device

    @classmethod
    def load(cls, weights: str | Path = "uld", device: str = "auto") -> LesionFinder:
        """Load bundled weights by name, or a checkpoint folder of your own by path.

        Raises:
            SemeiaError: The weights do not exist or do not fit, or the device.
        """
        found = checkpoint.system_of(weights)
        recipe = import_module(f"semeia.recipes.{found if found in DETECTORS else 'uld'}")
        model, name = checkpoint.load(
            weights, system=recipe.SYSTEM.name, kind=recipe.SYSTEM.kind, build=recipe.SYSTEM.build
        )
        return cls(model, weights=name, device=pick_device(device))

    def threshold(self, false: float = 0.5) -> float:
        """The score that left so many false boxes a slice on held-out data of the training, between those measured."""
        return float(np.interp(false, RATES, self.model.score_at.cpu().numpy()))

    def find(
        self, scan: Volume, *, threshold: float | None = None, wanted: range | None = None,
        on_slice: OnSlice | None = None,
    ) -> ScanReading:  # fmt: skip
        """Search a scan.

        Args:
            scan: An open one.
            threshold: Least score of a box; by default the one that left half a false box a slice.
            wanted: Axial slices that are searched, all by default.
            on_slice: Called with each key slice.

        Raises:
            SemeiaError: No slice is wanted, or a slice cannot be read.
        """
        count = scan.shape[0]
        if wanted is not None and not (0 <= wanted.start < wanted.stop <= count and wanted.step == 1):
            raise SemeiaError(f"{scan.source}: expected slices within 0 to {count - 1}, found {wanted.start} to "
                              f"{wanted.stop - 1}")  # fmt: skip
        config = self.model.config
        least = self.threshold() if threshold is None else threshold
        plan = planned(count, scan.spacing[2], slices=config.slices, step=config.interval, wanted=wanted)
        matrix, framing = framed(scan, config)
        back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
        parts = []
        for done, (boxes, scores) in enumerate(self._search(scan, plan, framing, matrix)):
            sides = boxes[:, 2:] - boxes[:, :2]
            kept = (scores >= least) & (sides > 2 * config.padding).all(1)  # nothing is left of a smaller one
            inner = trimmed(moved_boxes(back, boxes[kept]), config.padding * np.abs(back[[0, 1], [0, 1]]))
            parts.append(Boxes(np.full(int(kept.sum()), plan.keys[done]), inner, scores[kept]))
            if on_slice is not None:
                on_slice(done + 1, len(plan.keys))
        found = Boxes(*(np.concatenate(each) for each in zip(*parts, strict=True)))
        return told(scan, found, searched=plan.keys, weights=self.weights)

    @torch.no_grad()
    def _search(
        self, scan: Volume, plan: Plan, framing: Framing, matrix: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Boxes (n, 4) and scores (n,) of each key slice; each position passes the trunk once."""
        detector, maps = self.model.detector, {}
        images = self._images(scan, plan, framing, matrix)
        size = (framing.size, framing.size)
        read = 0
        for around in plan.around:
            while read <= around.max():
                group = [
                    next(images) for _ in range(min(TOGETHER.get(self.device.type, 4), len(plan.positions) - read))
                ]
                stacked = torch.from_numpy(np.stack(group)).to(self.device)  # (g, H, W)
                for i, each in enumerate(zip(*detector.slice_maps(stacked), strict=True)):
                    maps[read + i] = list(each)
                read += len(group)
            of_slices = [maps[place] for place in around]
            gathered = [torch.stack(at, 1)[None] for at in zip(*of_slices, strict=True)]  # (1, C, S, H, W) each
            ((boxes, values),) = detector.found(detector.key_map(gathered), size=size)
            yield boxes.float().cpu().numpy(), values.float().cpu().numpy()
            for place in [place for place in maps if place < around.min()]:
                del maps[place]

    def _images(self, scan: Volume, plan: Plan, framing: Framing, matrix: np.ndarray) -> Iterator[np.ndarray]:
        """The image (H, W) in [0, 1] at each position, mixed of the two slices around it; each slice is read once."""
        kept: dict[int, np.ndarray] = {}
        region = (0, 0, scan.shape[2], scan.shape[1])
        for position in plan.positions:
            low = int(position)
            share = float(position - low)
            for z in range(low, low + (2 if share > 0 else 1)):
                if z not in kept:
                    kept[z] = framing.image(scan.slab(z, z), region, matrix)[0]
            yield kept[low] if share == 0 else ((1 - share) * kept[low] + share * kept[low + 1]).astype(np.float32)
            for z in [z for z in kept if z < low]:
                del kept[z]


def framed(scan: Volume, config: Design) -> tuple[np.ndarray, Framing]:
    """The frame that all slices of a scan are seen in, and the matrix (2, 3) that leads there.

    Pixels are as large as in training; the frame is as large as the scan needs.
    """
    _, height, width = scan.shape
    across, down = scan.spacing[:2]
    if config.spacing is None:
        size = config.image_size
    else:
        size = int(np.ceil(max(width * across, height * down) / config.spacing))
    framing = Framing(size=size, spacing=config.spacing, windows=(config.window,))
    return framing.matrix((0, 0, width, height), (across, down)), framing


def trimmed(boxes: np.ndarray, padding: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) without the padding (x, y) in pixels that they were learned with; at least a pixel stays."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = np.maximum(half - padding, np.minimum(half, 0.5))
    return np.concatenate([middle - half, middle + half], -1)


def told(scan: Volume, found: Boxes, *, searched: np.ndarray, weights: str) -> ScanReading:
    """Boxes on axial slices as a record, in the file's own slices and pixels.

    Args:
        scan: Where they were found.
        found: Without padding.
        searched: Slices that were.
        weights: Name of what found them.
    """
    groups = lesion_groups(
        found.slices, found.boxes, found.scores, spacing=scan.spacing[:2], read=np.unique(searched).tolist()
    )
    own: dict[int, list[SliceBox]] = {}
    lesions = []
    for group in groups:
        for member in group.members:
            z = int(found.slices[member])
            x0, y0, x1, y1 = found.boxes[member].tolist()
            box = SliceBox(scan.own_box(z, (x0, y0, x1, y1)), float(found.scores[member]))
            own.setdefault(scan.own_slice(z), []).append(box)
        first, last = sorted(scan.own_slice(z) for z in group.slices)
        world = scan.to_world(*group.slices, group.box)
        lesions.append(Lesion(group.score, (first, last), world, group.long_mm, group.short_mm))
    ordered = {index: tuple(sorted(boxes, key=lambda box: -box.score)) for index, boxes in own.items()}
    return ScanReading(weights, scan.source, ordered, tuple(lesions), tuple(scan.notes))


def lesions(
    path: str | Path, *, weights: str | Path = "uld", device: str = "auto", threshold: float | None = None,
    series: str | None = None, on_slice: OnSlice | None = None,
) -> ScanReading:  # fmt: skip
    """Find candidate lesions in a CT scan.

    Args:
        path: A DICOM folder, a zip, or a NIfTI or NRRD file.
        weights: Bundled weights by name, or a checkpoint folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        threshold: Least score of a box; by default the one that left half a false box a slice in training's data.
        series: End of the UID of the series to read, where a folder holds several.
        on_slice: Called with each key slice.

    Raises:
        SemeiaError: The scan cannot be read, or the weights cannot be had.
    """
    with open_volume(path, series=series) as scan:
        return LesionFinder.load(weights, device).find(scan, threshold=threshold, on_slice=on_slice)
