"""The pseudo-normal twin of a user's scan or picture: read, make twins slice by slice, write a folder.

    slice -> window -> frame of the network, whole or in overlapping squares -> twin and likelihood -> difference
          -> back to the slice -> added to it

Only the difference comes back from the network's frame, so that a slice of another size keeps its sharpness, and what
the network does not change, or does not see (values beyond its window), keeps every bit.

Shapes      S slices of the scan   B slices at once   H, W slice   s side of the network's images
"""

from __future__ import annotations

import math
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from semeia import checkpoint
from semeia.data.formats.brats import grey_range
from semeia.data.slices import Framing, warped
from semeia.data.twin_feeds import Tones
from semeia.files import check_writable, write_whole
from semeia.media.images import read_image
from semeia.media.twin_page import write_page
from semeia.media.twin_pictures import is_grey, luminance, write_picture_twin, write_preview
from semeia.media.twin_reading import LargestDifference, TwinReading, TwinSlice, as_json
from semeia.media.twin_volumes import Shown, TwinVolumes
from semeia.media.volumes import Volume, open_volume
from semeia.predict.faces import pick_device
from semeia.records import SemeiaError
from semeia.systems import smile

OnSlice = Callable[[int, int], None]
"""Takes how many slices are done, and how many there are."""

TOGETHER = {"cpu": 4, "cuda": 32}
"""Slices that the network sees at once, by kind of device."""

SAMPLED = 32
"""Slices that tell the range of an MR scan."""

THRESHOLD = 0.5
PICTURES = (b"\xff\xd8", b"\x89PNG", b"RIFF")
"""First bytes of what ``media.images`` reads."""


class TwinMaker:
    """A trained model, loaded once and used for many scans and pictures.

    Args:
        model: A trained one.
        weights: Its name.
        device: Where it runs.
    """

    def __init__(self, model: smile.SMILE, *, weights: str, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.weights, self.device = weights, device

    @classmethod
    def load(cls, weights: str | Path = "smile", device: str = "auto") -> TwinMaker:
        """Load bundled weights by name, or a checkpoint folder of your own by path.

        Raises:
            SemeiaError: The weights do not exist or do not fit, or the device.
        """
        model, name = checkpoint.load(weights, system="smile", kind=smile.Config, build=smile.build)
        return cls(model, weights=name, device=pick_device(device))

    @torch.no_grad()
    def twins(
        self, values: np.ndarray, window: tuple[float, float], spacing: tuple[float, float] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Twins of slices that nobody has marked.

        Args:
            values: (B, H, W) float32.
            window: Lowest and highest value that the network sees.
            spacing: Millimetres a pixel along x and y; where nobody knows, pixels are taken as the network's.

        Returns:
            The twins (B, H, W), equal to ``values`` wherever those lie beyond the window, and likelihoods (B, H, W)
            of 0 to 1.
        """
        height, width = values.shape[1:]
        config, tones = self.model.config, Tones(window, self.model.config.soft)
        size, apart = config.size, (1.0, 1.0)
        if config.spacing is not None:
            apart = spacing or (config.spacing, config.spacing)
            size = max(size, math.ceil(max(width * apart[0], height * apart[1]) / config.spacing))
        framing = Framing(size=size, spacing=config.spacing, windows=(window,))
        region = (0, 0, width, height)
        matrix = framing.matrix(region, apart)
        framed = framing.image(values, region, matrix)  # (B, s, s) of 0 to 1
        image = torch.from_numpy(tones.of(window[0] + framed * (window[1] - window[0])))[:, None]  # (B, 1, s, s)
        answers = in_squares(self._answers, image, config.size).numpy()  # (B, 2, s, s)
        back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
        side = max(height, width)
        wide = warped(answers.reshape(-1, *answers.shape[2:]), back, side)[:, :height, :width]
        wide = wide.reshape(len(values), 2, height, width)
        seen = (values >= window[0]) & (values <= window[1])
        moved = tones.back(tones.of(values) + wide[:, 0])
        # A difference that is not there must not become one by rounding.
        return np.where(seen & (wide[:, 0] != 0), moved, values), wide[:, 1].clip(0, 1)

    def _answers(self, image: torch.Tensor) -> torch.Tensor:
        """Differences and likelihoods (N, 2, s, s) of images (N, 1, s, s)."""
        twin, lesion = (each.float().cpu() for each in self.model.twin(image.to(self.device)))
        return torch.cat([twin - image, lesion], 1)


def in_squares(answer: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, side: int) -> torch.Tensor:
    """Answers of overlapping squares, mixed by how far from its border a pixel lies in each.

    A network whose norms look at all of its picture sees pictures of the size that it learned from.

    Args:
        answer: From squares (N, 1, side, side) to (N, C, side, side).
        image: (B, 1, s, s), s at least ``side``; equal sides are answered at once.
        side: Of a square.

    Returns:
        (B, C, s, s).
    """
    whole = image.shape[-1]
    if whole == side:
        return answer(image)
    # Neighbours overlap by half a side or more.
    starts = np.unique(np.linspace(0, whole - side, math.ceil(2 * whole / side) - 1).round().astype(int)).tolist()
    ramp = torch.hann_window(side + 2, periodic=False)[1:-1]
    weight = ramp[:, None] * ramp
    mixed: torch.Tensor | None = None
    weights = torch.zeros(whole, whole)
    for top in starts:
        row = torch.cat([image[:, :, top : top + side, left : left + side] for left in starts])
        for left, part in zip(starts, answer(row).split(len(image)), strict=True):
            if mixed is None:
                mixed = torch.zeros(len(image), part.shape[1], whole, whole)
            mixed[:, :, top : top + side, left : left + side] += part * weight
            weights[top : top + side, left : left + side] += weight
    assert mixed is not None
    return mixed / weights


def normal(
    source: str | Path, out: str | Path, *, weights: str | Path = "smile", device: str = "auto",
    threshold: float = THRESHOLD, series: str | None = None, on_slice: OnSlice | None = None,
) -> TwinReading:  # fmt: skip
    """Make the pseudo-normal twin of a scan or a picture and write it with all that belongs to it.

    Args:
        source: A DICOM folder, a zip, a NIfTI or NRRD file, or a JPEG, PNG or WebP picture.
        out: A folder that is not there yet, or is empty; it appears whole or not at all.
        weights: Bundled weights by name, or a checkpoint folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        threshold: Likelihood from which a pixel counts as lesion in areas and volumes.
        series: End of the UID of the series to read, where a folder holds several.
        on_slice: Called with each slice.

    Raises:
        SemeiaError: The input cannot be read, the weights cannot be had, or the folder is not empty or cannot be
            written.
    """
    if not 0 < threshold < 1:
        raise SemeiaError(f"threshold: expected a likelihood between 0 and 1, found {threshold}")
    check_folder(out)
    if is_picture(source):
        if series is not None:
            raise SemeiaError(f"{source}: has no DICOM series to choose {series!r} from; leave --series out")
        image = read_image(source)
        maker = TwinMaker.load(weights, device)
        with whole_folder(out) as folder:
            reading = _write_picture(maker, image, Path(source).name, folder, threshold)
        if on_slice is not None:
            on_slice(1, 1)
        return reading
    with open_volume(source, series=series) as scan:
        maker = TwinMaker.load(weights, device)
        with whole_folder(out) as folder:
            return _write_scan(maker, scan, folder, threshold, on_slice)


def is_picture(path: str | Path) -> bool:
    """Whether a path is a file that begins as pictures do."""
    with suppress(OSError):
        if Path(path).is_file():
            with Path(path).open("rb") as stream:
                return stream.read(4).startswith(PICTURES)
    return False


# Folders -------------------------------------------------------------------------------------------------------------


def check_folder(path: str | Path) -> None:
    """Make sure, before long work begins, that ``whole_folder`` will be able to make ``path``.

    Raises:
        SemeiaError: It is a file or holds something, or the folder that it lies in is missing or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        if any(path.iterdir()):
            raise SemeiaError(f"{path}: expected a folder that is empty or not there yet, found files in it; name "
                              "another or empty it")  # fmt: skip
        check_writable(path.resolve().with_name(f".{secrets.token_hex(4)}.probe"))
    else:
        if path.exists():
            raise SemeiaError(f"{path}: is a file, expected a folder to write into")
        check_writable(path)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Give a folder beside ``path`` to write into; it takes the name ``path`` once the block ends well.

    Raises:
        SemeiaError: It cannot be written, or ``path`` holds something by then.
    """
    path = Path(path).resolve()
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir()
        yield part
        if path.is_dir():
            path.rmdir()  # empty: some systems do not rename over a folder
        part.rename(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SemeiaError(f"{path}: cannot be written ({reason}); name another folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


# Scans ---------------------------------------------------------------------------------------------------------------


@dataclass
class Sums:
    """What is told of the slices so far."""

    slices: dict[int, TwinSlice] = field(default_factory=dict)
    changed: float = 0.0
    seen: int = 0
    largest: tuple[float, int, int, int] | None = None
    """Difference, slice, column and row."""
    most: dict[int, float] = field(default_factory=dict)
    """Sum of absolute differences of each slice."""

    def add(
        self, z: int, own: int, difference: np.ndarray, likelihood: np.ndarray, *, seen: int, threshold: float,
        pixel_mm2: float | None,
    ) -> None:  # fmt: skip
        """One slice: ``difference`` and ``likelihood`` (H, W); ``seen`` pixels lie within the window."""
        over = likelihood >= threshold
        if count := int(over.sum()):
            area = None if pixel_mm2 is None else count * pixel_mm2
            self.slices[z] = TwinSlice(own, count, area, float(likelihood.max()))
        size = np.abs(difference)
        total = float(size.sum(dtype=np.float64))
        self.changed, self.seen, self.most[z] = self.changed + total, self.seen + seen, total
        place = int(size.argmax())
        row, column = divmod(place, difference.shape[1])
        if size.flat[place] > (abs(self.largest[0]) if self.largest else 0):
            self.largest = float(difference.flat[place]), z, column, row

    def ranked(self) -> list[int]:
        """Slices, those with the largest areas first, then those that changed most."""

        def key(z: int) -> tuple[int, float]:
            return -(self.slices[z].pixels if z in self.slices else 0), -self.most[z]

        return sorted(self.most, key=key)

    @property
    def mean(self) -> float | None:
        """Mean absolute difference within the window."""
        return self.changed / self.seen if self.seen else None


class ScanTwins:
    """Slices of a scan and its twin for pictures and pages; see ``media.twin_pictures.Twins``."""

    sides = True

    def __init__(self, volumes: TwinVolumes) -> None:
        self.volumes = volumes
        self.count = volumes.scan.shape[0]
        self.pixel_mm = volumes.scan.spacing[:2]

    def shown(self, z: int) -> Shown:
        """Slice z."""
        return self.volumes.shown(z)

    def own(self, z: int) -> int:
        """The file's own number of slice z."""
        return self.volumes.scan.own_slice(z)


def _write_scan(
    maker: TwinMaker, scan: Volume, folder: Path, threshold: float, on_slice: OnSlice | None
) -> TwinReading:
    fixed = maker.model.config.window
    window = _range_of(scan) if fixed is None else fixed
    count = scan.shape[0]
    across, down, apart = scan.spacing
    sums = Sums()
    with TwinVolumes(scan, folder) as volumes:
        step = TOGETHER.get(maker.device.type, 4)
        for first in range(0, count, step):
            slab = scan.slab(first, min(first + step, count) - 1)
            twins, likelihoods = maker.twins(slab, window, (across, down))
            for z, (before, after, likelihood) in enumerate(zip(slab, twins, likelihoods, strict=True), start=first):
                difference = volumes.put(z, before, after, likelihood)
                seen = int(((before >= window[0]) & (before <= window[1])).sum())
                sums.add(z, scan.own_slice(z), difference, likelihood, seen=seen, threshold=threshold,
                         pixel_mm2=across * down)  # fmt: skip
                if on_slice is not None:
                    on_slice(z + 1, count)
        notes = scan.notes
        if fixed is None:
            # An MR scan has no HU; the range that was taken is told instead.
            notes = tuple(note for note in notes if "Hounsfield" not in note)
            notes += (f"The weights are for MR: values from {window[0]:g} to {window[1]:g} were read as their range.",)
        slices = sorted(sums.slices.values(), key=lambda each: each.index)
        reading = TwinReading(
            maker.weights, scan.source, "HU" if fixed is not None else "stored value", window, threshold, scan.shape,
            scan.spacing, tuple(slices), sum(each.pixels for each in slices) * across * down * apart,
            _largest(scan, sums), sums.mean, {}, (*notes, *volumes.notes),
        )  # fmt: skip
        return _finish(reading, ScanTwins(volumes), sums.ranked(), folder, volumes.write())


def _range_of(scan: Volume) -> tuple[float, float]:
    """The values of an MR scan that the network sees as -1 and 1, told by slices at even steps."""
    places = np.unique(np.linspace(0, scan.shape[0] - 1, SAMPLED).astype(int))
    return grey_range(np.concatenate([scan.slab(int(z), int(z)) for z in places]), source=scan.source)


def _largest(scan: Volume, sums: Sums) -> LargestDifference | None:
    if sums.largest is None:
        return None
    value, z, column, row = sums.largest
    pixel = (column, row, column + 1, row + 1)
    own = scan.own_box(z, pixel)
    x0, y0, z0, x1, y1, z1 = scan.to_world(z, z, pixel)
    world = (x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2
    return LargestDifference(scan.own_slice(z), (round(own[0]), round(own[1])), world, value)


def _finish(
    reading: TwinReading, twins: ScanTwins | PictureTwins, ranked: list[int], folder: Path, files: dict[str, str]
) -> TwinReading:
    """Preview, page and summary beside the twin."""
    files = files | {"preview": "preview.png", "page": "page.html", "summary": "summary.json"}
    reading = replace(reading, files=files)
    write_preview(reading, twins, ranked, folder / files["preview"])
    write_page(reading, twins, ranked, folder / files["page"])
    write_whole(folder / files["summary"], (as_json(reading) + "\n").encode("ascii"))
    return reading


# Pictures ------------------------------------------------------------------------------------------------------------


class PictureTwins:
    """A picture and its twin for pictures and pages."""

    sides, count = False, 1
    pixel_mm = (1.0, 1.0)

    def __init__(self, before: np.ndarray, after: np.ndarray, likelihood: np.ndarray) -> None:
        self._shown = Shown(before, after, likelihood)

    def shown(self, z: int) -> Shown:
        """The picture."""
        return self._shown

    def own(self, z: int) -> int:
        """0."""
        return z


def _write_picture(maker: TwinMaker, image: np.ndarray, source: str, folder: Path, threshold: float) -> TwinReading:
    before = luminance(image).astype(np.float32)
    (after,), (likelihood,) = maker.twins(before[None], (0.0, 255.0))
    difference = np.round(after - before)
    sums = Sums()
    sums.add(0, 0, difference, likelihood, seen=before.size, threshold=threshold, pixel_mm2=None)
    fixed = maker.model.config.window
    told = "the scale" if fixed is None else f"the window, {fixed[0]:g} to {fixed[1]:g} HU,"
    notes = [f"A picture tells no HU and no millimetres: its greys from 0 to 255 were read as {told} of the weights."]
    if not is_grey(image):
        notes.append("The picture has colours: its brightness alone was read, and the same was added to all three.")
    largest = None
    if sums.largest is not None:
        value, _, column, row = sums.largest
        largest = LargestDifference(0, (column, row), None, value)
    height, width = before.shape
    reading = TwinReading(
        maker.weights, source, "grey level", (0.0, 255.0), threshold, (1, height, width), None,
        tuple(sums.slices.values()), None, largest, sums.mean, {}, tuple(notes),
    )  # fmt: skip
    files = write_picture_twin(image, difference, likelihood, folder)
    return _finish(reading, PictureTwins(before, before + difference, likelihood), [0], folder, files)
