"""Lesions transplanted onto healthy slices: training data for a detector, made from a few masks.

    a lesion with its mask, of one patient -> the same place in the body of a healthy one -> painted in, slice by slice
    -> the axes and the box around it -> slices, masks and table in DeepLesion's layout

SMILE's lesion reconstructor paints; ``paste`` copies the lesion's own values instead, which needs no model and is what
painting must beat. Nothing changes beyond the lesion's edge, so that a slice says nowhere else that it was made.

Shapes      n slices around the key slice   H, W pixels of a slice   s side of the network's images
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from scipy import ndimage

from semeia.data.formats import deeplesion
from semeia.data.formats.deeplesion import Finding, KeySlice, series_name
from semeia.data.formats.slice_files import Series
from semeia.data.lesion_masks import masks_of
from semeia.data.paired_slices import CTSlices
from semeia.data.slices import BODY, Framing, body_box, moved_points, warped
from semeia.data.synthetic.slabs.axes import Axes, measure, padded_box
from semeia.files import write_whole
from semeia.lesion_sets import LesionData, open_lesions, split_of
from semeia.predict.normal import TwinMaker, check_folder, whole_folder
from semeia.records import SemeiaError
from semeia.systems import smile

Way = Literal["smile", "paste"]

SOURCES = "transplants.json"
"""What each made series is of, beside the table."""

EDGE = 1.0
"""Pixels over which a lesion passes into what is around it: the standard deviation of a blur of its mask."""

TRIES = 50
"""Pairs of a lesion and a healthy slice that are drawn before it is said that none fits."""

NEAR = 0.05
"""Part of the height of the body by which a healthy slice may lie higher or lower than the lesion."""


class Donor(NamedTuple):
    """A lesion that can be transplanted: one of a key slice."""

    key: KeySlice
    number: int


class Host(NamedTuple):
    """A healthy slice that can take one, and its neighbours."""

    key: KeySlice
    """Of the same patient: what the table tells of the series."""
    series: Series


@dataclass(frozen=True)
class Origin:
    """What a made series is of."""

    series: str
    host: str
    lesion_of: str
    lesion: int
    way: str


class Painter(Protocol):
    """Paints a lesion into slices."""

    def __call__(
        self, slab: np.ndarray, masks: np.ndarray, spacing: tuple[float, float], moved: Moved, /
    ) -> np.ndarray:
        """(n, H, W) HU of healthy slices -> the same with a lesion where (n, H, W) masks say, right inside of them."""
        ...


class Moved(NamedTuple):
    """Where a lesion's pixels lie in the host's slices."""

    donor: Donor
    matrix: np.ndarray
    """(2, 3), from pixels of the lesion's slice to those of the host."""


def transplant(
    data: LesionData, out: str | Path, *, count: int, way: Way = "smile", weights: str | Path = "smile", seed: int = 0,
    device: str = "auto", on_slab: Callable[[int], None] | None = None,
) -> int:  # fmt: skip
    """Write ``count`` series, each with one transplanted lesion, in DeepLesion's layout; all are of the split train.

    Args:
        data: With healthy slices, as worlds of ``semeia make slabs`` have them. Lesions are those of its training
            patients; with a share, healthy slices are those of all others.
        out: A folder that is not there yet, or is empty; it appears whole or not at all.
        count: Of series.
        way: What paints.
        weights: Of SMILE, bundled by name or a checkpoint folder.
        seed: Of what is drawn.
        device: ``auto``, ``cpu`` or ``cuda``.
        on_slab: Called with how many are written.

    Returns:
        How many were written.

    Raises:
        SemeiaError: The data have no healthy slices, no lesion fits anywhere, weights without a lesion reconstructor,
            or the folder cannot be written.
    """
    if count < 1:
        raise SemeiaError(f"count: expected at least 1, found {count}")
    check_folder(out)
    donors, hosts = pairs_of(data)
    painter: Painter = pasted if way == "paste" else Reconstructor(TwinMaker.load(weights, device))
    heights = np.array([host.key.location for host in hosts])
    findings: list[Finding] = []
    origins: list[Origin] = []
    studies: Counter[int] = Counter()
    with whole_folder(out) as folder:
        for number in range(count):
            rng = np.random.default_rng((seed, number))
            donor, host, axes, slab, masks = _made(rng, donors, hosts, heights, painter)
            patient, first = host.key.patient, int(host.series.numbers[0])
            studies[patient] += 1
            deeplesion.write_series(folder, patient, studies[patient], 1, slab, first=first)
            deeplesion.write_masks(folder, patient, studies[patient], 1, masks.astype(np.uint8), first=first)
            finding = _finding(donor, host, axes, studies[patient])
            findings.append(finding)
            name = series_name(patient, finding.study, 1)
            origins.append(Origin(name, host.series.name, donor.key.name, donor.number, way))
            if on_slab is not None:
                on_slab(number + 1)
        deeplesion.write_table(folder, findings)
        told = {"format": "semeia-transplants", "seed": seed, "share": data.share, "share_seed": data.share_seed,
                "series": [asdict(origin) for origin in origins]}  # fmt: skip
        write_whole(folder / SOURCES, json.dumps(told).encode())
    return count


def pairs_of(data: LesionData) -> tuple[list[Donor], list[Host]]:
    """The lesions that may be taken, and the healthy slices that may take them.

    Raises:
        SemeiaError: There are no lesions or no healthy slices.
    """
    everyone = split_of(open_lesions(replace(data, share=1.0, made=None)), "train")
    few = everyone
    if data.share < 1:
        few = [deeplesion.subset(each, share=data.share, seed=data.share_seed) for each in everyone]
    donors = [Donor(key, number) for each in few for key in each.keys for number in range(len(key.findings))]
    taken = {(each.folder, key.patient) for each in few for key in each.keys} if data.share < 1 else set()
    hosts = []
    for each in everyone:
        slices = CTSlices(each)
        for key in each.keys:
            series = slices.twins_of(key)
            if key.slice in series.numbers and (each.folder, key.patient) not in taken:
                hosts.append(Host(key, series))
    if not hosts:
        where = ", ".join(data.deeplesion)
        raise SemeiaError(f"{where}: expected healthy slices of training patients to transplant lesions onto, found "
                          "none; name a world of semeia make slabs, or a smaller share of its patients")  # fmt: skip
    return donors, hosts


def _made(
    rng: np.random.Generator, donors: Sequence[Donor], hosts: Sequence[Host], heights: np.ndarray, painter: Painter
) -> tuple[Donor, Host, Axes, np.ndarray, np.ndarray]:
    """A lesion and a host that fit, its axes in the host, and the host's slices (n, H, W) int16 HU and masks.

    Raises:
        SemeiaError: No pair of ``TRIES`` fits.
    """
    for _ in range(TRIES):
        donor = donors[int(rng.integers(len(donors)))]
        near = np.flatnonzero(np.abs(heights - donor.key.location) <= NEAR)
        if not len(near):
            continue
        host = hosts[rng.choice(near)]
        if host.key.series.folder.parent == donor.key.series.folder.parent and host.key.patient == donor.key.patient:
            continue
        hu = host.series.read(host.key.slice)
        middle = int(np.searchsorted(host.series.numbers, host.key.slice))
        moved = moved_into(donor, host, hu)
        masks = masks_in(moved, host, (len(host.series.numbers), *hu.shape))
        if not fits(masks[middle], hu):
            continue
        axes = measure(masks[middle].astype(float))
        if axes is None:
            continue
        slab = np.stack([host.series.read(int(n)) for n in host.series.numbers]).astype(np.float32)
        made = painter(slab, masks, host.key.spacing, moved)
        return donor, host, axes, np.rint(made).clip(-32768, 32767).astype(np.int16), masks
    raise SemeiaError(f"expected lesions and healthy slices at like heights in which they fit, found none in {TRIES} "
                      "draws; name data with more patients")  # fmt: skip


# Where -------------------------------------------------------------------------------------------------------------


def moved_into(donor: Donor, host: Host, hu: np.ndarray) -> Moved:
    """A lesion moved to the point of the host's slice (H, W) that lies alike in the box around the body."""
    key = donor.key
    x0, y0, x1, y1 = body_box(key.series.read(key.slice))
    box = key.boxes[donor.number]
    middle = (box[:2] + box[2:]) / 2
    part = (middle - (x0, y0)) / (max(x1 - x0, 1), max(y1 - y0, 1))
    left, top, right, bottom = body_box(hu)
    point = np.array([left, top]) + part * (right - left, bottom - top)
    scale = np.diag(np.array(key.spacing) / host.key.spacing)
    return Moved(donor, np.column_stack([scale, point - scale @ middle]))


def masks_in(moved: Moved, host: Host, shape: tuple[int, ...]) -> np.ndarray:
    """(n, H, W) bool: the lesion's mask in the key slice, and smaller ones around it, as slices of a ball are."""
    donor = moved.donor
    mask = masks_of(donor.key)[donor.number].astype(np.float32)
    radius = min(donor.key.findings[donor.number].diameters) / 2 * float(np.mean(donor.key.spacing))
    centre = ndimage.center_of_mass(mask)[::-1] if mask.any() else (0.0, 0.0)
    masks = np.zeros(shape, bool)
    interval = host.key.interval if host.key.interval > 0 else 0.0
    for place, number in enumerate(host.series.numbers.tolist()):
        away = abs(number - host.key.slice) * interval
        if away < radius or number == host.key.slice:
            smaller = math.sqrt(1 - (away / radius) ** 2) if radius > 0 else 1.0
            masks[place] = brought(mask, _shrunk(moved.matrix, np.array(centre) + 0.5, smaller), shape[1:]) > 0.5
    return masks


def _shrunk(matrix: np.ndarray, centre: np.ndarray, factor: float) -> np.ndarray:
    """A matrix (2, 3) after scaling about a point."""
    scale = factor * np.eye(2)
    return matrix @ np.vstack([np.column_stack([scale, centre - scale @ centre]), [0, 0, 1]])


def brought(image: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An image (H, W) float32 in the pixels of another slice, of a shape; 0 where it does not reach."""
    height, width = shape
    return warped(image[None], matrix, max(height, width))[0, :height, :width]


def fits(mask: np.ndarray, hu: np.ndarray) -> bool:
    """Whether all of a lesion (H, W) bool lies in the body of a slice (H, W), lungs and bowel included."""
    return bool(mask.any()) and not bool((mask & ~ndimage.binary_fill_holes(hu > BODY)).any())


def soft(masks: np.ndarray) -> np.ndarray:
    """(n, H, W) of 0 to 1: how much of a pixel is the lesion's."""
    return ndimage.gaussian_filter(masks.astype(np.float32), (0, EDGE, EDGE))


# How ---------------------------------------------------------------------------------------------------------------


class Reconstructor:
    """SMILE's lesion reconstructor as a painter.

    Args:
        maker: With weights that have one.
    """

    def __init__(self, maker: TwinMaker) -> None:
        self.model, self.device = maker.model, maker.device
        if "reconstructor" not in self.model.nets or self.model.config.window is None:
            raise SemeiaError(f"{maker.weights}: expected weights for CT with a lesion reconstructor, found none; name "
                              "others, or paste lesions")  # fmt: skip

    def __call__(self, slab: np.ndarray, masks: np.ndarray, spacing: tuple[float, float], moved: Moved) -> np.ndarray:
        """As ``Painter``: what the network adds, in a square around the lesion."""
        config, tones = self.model.config, smile.tones(self.model.config)
        fit: Literal["shrink", "crop"] = "shrink" if config.spacing is None else "crop"
        framing = Framing(size=config.size, spacing=config.spacing, windows=(tones.window,), fit=fit)
        region = (0, 0, slab.shape[2], slab.shape[1])
        matrix = framing.matrix(region, spacing)
        if config.spacing is not None:
            rows, columns = np.nonzero(masks.any(0))
            middle = np.array([columns.mean(), rows.mean()]) + 0.5
            matrix[:, 2] += np.round(config.size / 2 - moved_points(matrix, middle))
        low, high = tones.window
        framed = framing.image(slab, region, matrix)
        image = torch.from_numpy(tones.of(low + framed * (high - low)))[:, None]
        where = np.where(masks, high, low).astype(np.float32)
        mask = torch.from_numpy(framing.image(where, region, matrix) > 0.5).float()[:, None]
        with torch.no_grad():
            painted = self.model.restore(image.to(self.device), mask.to(self.device)).cpu()
        added = (painted - image)[:, 0].numpy()
        back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
        wide = np.stack([brought(each, back, slab.shape[1:]) for each in added])
        lesion = soft(masks)
        seen = (slab >= low) & (slab <= high) & (lesion > 0)
        return np.where(seen, tones.back(tones.of(slab) + wide * lesion), slab)


def pasted(slab: np.ndarray, masks: np.ndarray, spacing: tuple[float, float], moved: Moved) -> np.ndarray:
    """As ``Painter``: the values of the lesion's own key slice, in every slice that it reaches."""
    key = moved.donor.key
    values = brought(key.series.read(key.slice).astype(np.float32), moved.matrix, slab.shape[1:])
    lesion = soft(masks)
    return slab + lesion * (values - slab)


def _finding(donor: Donor, host: Host, axes: Axes, study: int) -> Finding:
    """The row of the table."""
    told, key, size = donor.key.findings[donor.number], host.key, host.series.size
    numbers = host.series.numbers
    return replace(
        told, patient=key.patient, study=study, series=1, key_slice=key.slice, recist=axes.ends,
        box=padded_box(axes.ends, size), diameters=(axes.long, axes.short), noisy=False,
        location=(*told.location[:2], key.location), slice_range=(int(numbers[0]), int(numbers[-1])),
        spacing=(*key.spacing, key.interval), size=size, gender=key.findings[0].gender, age=key.findings[0].age,
        split="train",
    )  # fmt: skip
