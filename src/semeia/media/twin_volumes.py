"""The twin of a scan, its difference and the lesion likelihood, voxel by voxel on the scan.

    NIfTI -> NIfTI      the input's header and voxels, copied byte by byte, of which only changed voxels are replaced
    NRRD  -> NRRD       the input's header and type, likewise
    DICOM -> NIfTI      a DICOM twin would need UIDs, dates and a modality of images that no scanner made

All three volumes lie in files while they are filled, slice by slice, so that a scan of any length takes the memory of a
slab. Voxels with whole numbers are rounded; the difference is what was really changed, in the unit of the scan, and the
likelihood is in percent.

Shapes      S slices   H, W axial slice   I, J, K stored voxels
"""

from __future__ import annotations

import bz2
import gzip
import io
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from semeia.media.archives import unpack_stream
from semeia.media.nifti import TO_LPS, is_nifti
from semeia.media.nrrd import MAX_HEADER, TYPES, open_nrrd
from semeia.media.stored import size_in_bytes
from semeia.media.volumes import Volume

DIFFERENCE, LIKELIHOOD = np.dtype("<f4"), np.dtype("u1")
MEANING = {
    "difference": "Semeia: twin minus input; no medical device",
    "likelihood": "Semeia: lesion likelihood, percent; no medical device",
}
"""At most 79 bytes, as NIfTI has room for."""
_MADE = "Semeia: pseudo-normal twin; no medical device"
_PIECE = 4 * 2**20
_NRRD_PACKINGS: dict[str, Literal["gzip", "bzip2"]] = {"gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}


class Shown(NamedTuple):
    """A slice as pictures show it: input and twin (H, W) in the unit of the input, and likelihood (H, W) of 0 to 1."""

    before: np.ndarray
    after: np.ndarray
    likelihood: np.ndarray


@dataclass(frozen=True)
class Layout:
    """How the outputs are stored: what stands before the voxels of each, and how they are packed.

    ``whole`` packs the header too. ``slope`` leads from stored values to the unit of the scan.
    """

    suffix: str
    dtype: np.dtype
    slope: float
    heads: dict[str, bytes]
    packing: Literal["gzip", "bzip2"] | None
    whole: bool


class TwinVolumes:
    """The three volumes of a scan while they are filled; a context manager that removes its working files.

    Args:
        scan: An open scan; it must stay open.
        folder: Where working files lie and outputs are written; it exists.

    Attributes:
        notes: What could not be kept, one sentence each.
    """

    def __init__(self, scan: Volume, folder: Path) -> None:
        self.scan, self.folder = scan, folder
        self._raw = {name: folder / f".{name}.raw" for name in ("twin", *MEANING)}
        self.layout, self.notes = _layout(scan, self._raw["twin"])
        shape = scan.grid.shape
        self._voxels = np.memmap(self._raw["twin"], self.layout.dtype, "r+", shape=shape, order="F")
        self._difference = np.memmap(self._raw["difference"], DIFFERENCE, "w+", shape=shape, order="F")
        self._likelihood = np.memmap(self._raw["likelihood"], LIKELIHOOD, "w+", shape=shape, order="F")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in ("_voxels", "_difference", "_likelihood"):
            self.__dict__.pop(name, None)  # a memory map keeps a file from being removed on some systems
        for path in self._raw.values():
            path.unlink(missing_ok=True)

    def put(self, z: int, before: np.ndarray, after: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
        """Store axial slice z; where ``after`` is ``before``, the voxel keeps every bit.

        Args:
            z: Axial slice.
            before: (H, W) as ``scan.slab`` gives it.
            after: (H, W) in the same unit.
            likelihood: (H, W) of 0 to 1.

        Returns:
            (H, W) float32, the difference as it is stored.
        """
        grid, slope = self.scan.grid, self.layout.slope
        stored = grid.axial(self._voxels)[z]
        old = stored.astype(np.float64)
        change = (after.astype(np.float64) - before) / slope
        if stored.dtype.kind in "iu":
            limits = np.iinfo(stored.dtype)
            new = (old + np.round(change)).clip(limits.min, limits.max)
        else:
            new = old + change
        changed = (change != 0) & np.isfinite(old) & (new != old)
        stored[changed] = new[changed]
        difference = np.where(changed, (stored.astype(np.float64) - old) * slope, 0).astype(np.float32)
        grid.axial(self._difference)[z] = difference
        grid.axial(self._likelihood)[z] = np.round(100 * likelihood.clip(0, 1))
        return difference

    def shown(self, z: int) -> Shown:
        """Axial slice z of what was put."""
        before = self.scan.slab(z, z)[0]
        grid = self.scan.grid
        difference = np.array(grid.axial(self._difference)[z])
        return Shown(before, before + difference, grid.axial(self._likelihood)[z] / np.float32(100))

    def write(self) -> dict[str, str]:
        """Write all three volumes; gives their names in the folder, by kind."""
        names = {}
        for name, voxels in (
            ("twin", self._voxels),
            ("difference", self._difference),
            ("likelihood", self._likelihood),
        ):
            voxels.flush()
            names[name] = name + self.layout.suffix
            _write(self.folder / names[name], self.layout.heads[name], self._raw[name], self.layout)
        return names


def _write(path: Path, head: bytes, voxels: Path, layout: Layout) -> None:
    with ExitStack() as closing:
        raw = closing.enter_context(path.open("wb"))
        if not layout.whole:
            raw.write(head)
        stream: Any = raw
        if layout.packing == "gzip":
            # No name and no time in the header of gzip: the same twin makes the same bytes.
            stream = closing.enter_context(gzip.GzipFile("", "wb", 4, raw, mtime=0))
        elif layout.packing == "bzip2":
            stream = closing.enter_context(bz2.BZ2File(raw, "wb"))
        if layout.whole:
            stream.write(head)
        with voxels.open("rb") as source:
            shutil.copyfileobj(source, stream, _PIECE)


# What the input is ---------------------------------------------------------------------------------------------------


def _layout(scan: Volume, raw: Path) -> tuple[Layout, tuple[str, ...]]:
    """How outputs are stored, and notes; the input's stored voxels are copied to ``raw``."""
    if scan.uids is not None:
        return _of_dicom(scan, raw)
    with scan.files[0].open("rb") as stream:
        start = stream.read(8)
    return _of_nrrd(scan, raw) if start.startswith(b"NRRD") else _of_nifti(scan, raw)


def _of_nifti(scan: Volume, raw: Path) -> tuple[Layout, tuple[str, ...]]:
    path = scan.files[0]
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as stream:
        start = stream.read(540)
        stream.seek(0)
        kind = Nifti1Header if start[344:347] == b"n+1" else Nifti2Header
        assert is_nifti(start)
        header = kind(start[: kind.sizeof_hdr], check=False)
        offset = int(header.get_data_offset())
        head = stream.read(offset)
    dtype = np.dtype(header.get_data_dtype())
    size = size_in_bytes(scan.grid.shape, dtype)
    whole = raw.with_name(".input.raw")
    if packed:
        unpack_stream(path, whole, size=offset + size, source=scan.source)
    with (whole if packed else path).open("rb") as stream, raw.open("wb") as out:
        stream.seek(offset)
        shutil.copyfileobj(stream, out, _PIECE)
        out.truncate(size)  # some files go on behind their voxels
    whole.unlink(missing_ok=True)
    slope, _ = header.get_slope_inter()
    heads = {"twin": head} | {name: _nifti_head(header, name) for name in MEANING}
    return Layout(
        ".nii.gz" if packed else ".nii", dtype, 1.0 if slope is None else float(slope), heads,
        "gzip" if packed else None, whole=True,
    ), ()  # fmt: skip


def _nifti_head(own: Nifti1Header, name: str) -> bytes:
    """The header of an output that lies where ``own`` does."""
    header = own.copy()
    header.extensions.clear()
    header.set_data_dtype(DIFFERENCE if name == "difference" else LIKELIHOOD)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    if name == "likelihood":
        header["cal_max"] = 100
    header["descrip"] = MEANING.get(name, _MADE).encode()
    return _with_offset(header)


def _with_offset(header: Nifti1Header) -> bytes:
    """A header, and the four zeros that say that no extension follows."""
    # Little-endian as the voxels are, whatever the input is.
    header = header.as_byteswapped("<")
    header.set_data_offset(-(-(header.sizeof_hdr + 4) // 16) * 16)
    stream = io.BytesIO()
    header.write_to(stream)
    return stream.getvalue()[: header.sizeof_hdr].ljust(int(header.get_data_offset()), b"\0")


def _of_dicom(scan: Volume, raw: Path) -> tuple[Layout, tuple[str, ...]]:
    dtype = np.dtype("<i2")
    voxels = np.memmap(raw, dtype, "w+", shape=scan.grid.shape, order="F")
    view = scan.grid.axial(voxels)
    for z in range(scan.shape[0]):
        view[z] = np.round(scan.slab(z, z)[0]).clip(-32768, 32767)
    voxels.flush()
    header = Nifti1Header()
    header.set_data_shape(scan.grid.shape)
    header.set_data_dtype(dtype)
    header.set_sform(TO_LPS @ scan.grid.affine, 1)
    header.set_qform(TO_LPS @ scan.grid.affine, 1)
    header.set_xyzt_units("mm")
    heads = {name: _nifti_head(header, name) for name in MEANING}
    header["descrip"] = _MADE.encode()
    heads["twin"] = _with_offset(header)
    notes = ["DICOM came in and NIfTI went out: a DICOM twin would need UIDs and dates of images that no scanner made."]
    if scan.grid.offsets is not None:
        notes.append(
            "Slices lie unevenly or are shifted; NIfTI cannot say so, and its affine has their usual distance."
        )
    return Layout(".nii.gz", dtype, 1.0, heads, "gzip", whole=True), tuple(notes)


def _of_nrrd(scan: Volume, raw: Path) -> tuple[Layout, tuple[str, ...]]:
    lines, fields = _nrrd_header(scan.files[0])
    dtype = np.dtype(TYPES[fields["type"]])
    if dtype.itemsize > 1:
        dtype = dtype.newbyteorder("<" if fields["endian"].lower() == "little" else ">")
    voxels = np.memmap(raw, dtype, "w+", shape=scan.grid.shape, order="F")
    with ExitStack() as closing:
        stored = open_nrrd(scan.files[0], source=scan.source, closing=closing)
        axis = scan.grid.axes[2]
        for place in range(scan.grid.shape[axis]):
            part: list[slice] = [slice(None)] * 3
            part[axis] = slice(place, place + 1)
            voxels[tuple(part)] = stored.read(place, place)
        del stored
    voxels.flush()
    encoding = fields["encoding"].lower()
    packing = _NRRD_PACKINGS.get(encoding)
    # Where voxels began says nothing any more, and one file holds all.
    gone = {"data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip", "encoding"}
    other = {"type", "endian", "min", "max", "old min", "oldmin", "old max", "oldmax", "content"}
    heads = {"twin": _nrrd_head(lines, gone, {"encoding": packing or "raw"})}
    for name, kind in (("difference", "float"), ("likelihood", "uchar")):
        new = {"type": kind, "endian": "little", "encoding": packing or "raw", "content": MEANING[name]}
        heads[name] = _nrrd_head(lines, gone | other, new)
    notes: tuple[str, ...] = ()
    if dtype.itemsize > 4 or (dtype.itemsize == 4 and dtype.kind != "f"):
        notes = ("Values are stored with more digits than are read: those of the twin are rounded to 24 bits.",)
    return Layout(".nrrd", dtype, 1.0, heads, packing, whole=False), notes


def _nrrd_header(path: Path) -> tuple[list[bytes], dict[str, str]]:
    """The lines of a header that was read before, and its fields."""
    with path.open("rb") as stream:
        start = stream.read(MAX_HEADER)
    lines: list[bytes] = []
    for line in start.splitlines():
        if not line.strip():
            break
        lines.append(line)
    pairs = (line.decode("latin-1").partition(": ") for line in lines[1:] if not line.startswith(b"#"))
    return lines, {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}


def _nrrd_head(lines: list[bytes], gone: set[str], new: dict[str, str]) -> bytes:
    kept = [line for line in lines if line.decode("latin-1").partition(":")[0].strip().lower() not in gone]
    return b"\n".join([*kept, *(f"{name}: {value}".encode("ascii") for name, value in new.items()), b"", b""])
