"""What a finished re-annotation becomes: data sets in four formats, an audit sample, a report.

    OUT/webdataset/00000.tar, .parquet      key.jpg, key.txt, key.json; a column a label
    OUT/imagefolder/metadata.jsonl, 00000/  pictures as files, with captions and labels
    OUT/llava_captions.json, llava_questions.json      LLaVA's JSON over OUT/imagefolder
    OUT/trl_captions.parquet, trl_questions.parquet    TRL's messages with pictures
    OUT/audit.csv, audit/                   a sample to be checked by eye
    OUT/agreement.csv                       labels against a truth, where one is given
    OUT/report.json                         what became of all pictures

Made anew, whole, from ``OUT/work`` each time: near-duplicates are told over all shards and leave, as do items whose
labels agree too rarely with the truth.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from semeia.data.formats import imagefolder_metadata, llava, trl_messages, webdataset
from semeia.data.formats.face_columns import columns_of, read_table
from semeia.data.formats.face_files import records_of
from semeia.data.formats.llava import Conversation
from semeia.files import writable_folder, write_whole
from semeia.records import SemeiaError
from semeia.systems.face_mllm import filters, questions
from semeia.systems.face_mllm.annotate import KEPT
from semeia.systems.face_mllm.schema import ITEMS, SCHEMA, known

FORMATS = ("webdataset", "imagefolder", "llava", "trl")

WORK = pa.schema(
    [
        ("status", pa.string()), ("error", pa.string()), ("source", pa.string()), ("box", pa.list_(pa.float64())),
        ("score", pa.float64()), ("width", pa.int32()), ("height", pa.int32()), ("labels", pa.string()),
        ("provenance", pa.string()), ("annotators", pa.list_(pa.string())), ("problems", pa.list_(pa.string())),
        ("hash", pa.binary()),
    ]
)  # fmt: skip
"""Columns of a work shard beside key and caption."""

_PUBLISHED = pa.schema(
    [
        ("status", pa.string()), ("source", pa.string()), ("width", pa.int32()), ("height", pa.int32()),
        ("score", pa.float64()), ("provenance", pa.string()), ("annotators", pa.list_(pa.string())),
        *((f"label_{item.name}", pa.string()) for item in SCHEMA),
    ]
)  # fmt: skip

_SETS = ("captions", "questions")


@dataclass(frozen=True)
class Outputs:
    """What is written.

    Attributes:
        formats: Among ``FORMATS``.
        truth: A folder in the face format whose pictures were annotated, or an ``audit.csv`` with its column ``truth``
            filled in; None: nothing is compared.
        drop_below: Agreement with the truth below which an item is left out of all data sets.
        fewest: Compared labels below which an item is never left out.
        audit: Faces of the audit sample.
        asked: What questions are made.
    """

    formats: tuple[str, ...] = FORMATS
    truth: str | None = None
    drop_below: float = 0.8
    fewest: int = 10
    audit: int = 200
    asked: questions.Config = field(default_factory=questions.Config)


@dataclass(frozen=True)
class Agreement:
    """Labels of one item against the truth: how many were compared, and the share that agree."""

    item: str
    compared: int
    agreement: float
    dropped: bool


@dataclass(frozen=True)
class Report:
    """What became of all pictures.

    Attributes:
        pictures: Their number.
        statuses: How many were kept, and why not the others.
        labels: Item -> faces with a label.
        agreement: Item by item against the truth; empty where there is none.
        problems: What annotators failed to do -> how often.
        errors: The first pictures that could not be read, and why.
        notes: Inputs that could not be opened or were cut off.
        one_sided: Items that no question asks, as only yes or only no is known.
        written: Files and folders.
    """

    pictures: int
    statuses: Mapping[str, int]
    labels: Mapping[str, int]
    agreement: tuple[Agreement, ...]
    problems: Mapping[str, int]
    errors: tuple[str, ...]
    notes: tuple[str, ...]
    one_sided: tuple[str, ...]
    written: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


_MOST_ERRORS = 100


class _Kept(NamedTuple):
    """A face that stays: its shard's place, its row, its labels without dropped items."""

    shard: Path
    row: dict[str, Any]
    labels: dict[str, str]

    @property
    def file(self) -> str:
        """Name of its picture from ``imagefolder``."""
        return f"{self.shard.stem}/{self.row['key']}.jpg"


def finish(
    root: Path, shards: Sequence[Path], outputs: Outputs, notes: Sequence[str], *, most_different: int
) -> Report:
    """Write everything anew from the work shards.

    Args:
        root: The folder.
        shards: Tars of all work shards, in order.
        outputs: What is written.
        notes: To be told in the report.
        most_different: See ``filters.Config``.

    Raises:
        SemeiaError: A shard cannot be read, the truth does not fit, or the disk is full.
    """
    twins = _twins(shards, most_different)
    statuses, problems, labelled = Counter[str](), Counter[str](), Counter[str]()
    errors: list[str] = []
    for shard in shards:
        for row in webdataset.rows_of(shard.with_suffix(".parquet"), ["key", "status", "error", "problems", "labels"]):
            kept = row["status"] == KEPT and row["key"] not in twins
            statuses["near-duplicate" if row["key"] in twins else row["status"]] += 1
            problems.update(row["problems"])
            labelled.update(list(json.loads(row["labels"])) if kept else ())  # of a mapping values would be added up
            if row["error"] is not None and len(errors) < _MOST_ERRORS:
                errors.append(row["error"])
    agreement = _agreement(shards, twins, outputs)
    faces = _Faces(shards, twins, frozenset(entry.item for entry in agreement if entry.dropped))
    written, one_sided = _write(root, faces, outputs)
    if agreement:
        written.append(_write_agreement(root / "agreement.csv", agreement))
    if outputs.audit:
        written.append(_audit(root, faces, outputs.audit, statuses[KEPT]))
    report = Report(
        sum(statuses.values()), dict(statuses.most_common()), {i: labelled[i] for i in ITEMS if labelled[i]},
        tuple(agreement), dict(problems.most_common()), tuple(errors), tuple(notes), tuple(one_sided), tuple(written),
    )  # fmt: skip
    write_whole(root / "report.json", (json.dumps(report.as_dict(), indent=2) + "\n").encode())
    return report


def _twins(shards: Sequence[Path], most_different: int) -> dict[str, str]:
    """Key of a near-duplicate -> key of the face that it repeats."""
    keys, hashes = [], []
    for shard in shards:
        for row in webdataset.rows_of(shard.with_suffix(".parquet"), ["key", "status", "hash"]):
            if row["status"] == KEPT:
                keys.append(row["key"])
                hashes.append(row["hash"])
    return {keys[one]: keys[first] for one, first in filters.near_duplicates(hashes, most_different).items()}


class _Faces:
    """The faces that stay; goes through the shards each time it is iterated."""

    def __init__(self, shards: Sequence[Path], twins: Mapping[str, str], dropped: frozenset[str]) -> None:
        self.shards, self.twins, self.dropped = shards, twins, dropped

    def __iter__(self) -> Iterator[_Kept]:
        for shard in self.shards:
            yield from self.of(shard)

    def of(self, shard: Path) -> Iterator[_Kept]:
        """Those of one shard."""
        for row in webdataset.rows_of(shard.with_suffix(".parquet")):
            if row["status"] == KEPT and row["key"] not in self.twins:
                labels = {name: v for name, v in json.loads(row["labels"]).items() if name not in self.dropped}
                yield _Kept(shard, row, labels)

    def with_pictures(self, shard: Path) -> Iterator[tuple[_Kept, bytes]]:
        """Those of one shard with their pictures, which are read once each."""
        places = {Path(place.name).stem: place for place in webdataset.pictures(shard)[0]}
        for face in self.of(shard):
            _, start, size = places[face.row["key"]]
            yield face, webdataset.content(shard, start, size)


# ---------------------------------------------------------------------------------------------------------------------
# Data sets


def _write(root: Path, faces: _Faces, outputs: Outputs) -> tuple[list[str], list[str]]:
    """Writes the formats; names of what was written, and of items that no question asks."""
    written = []
    if "webdataset" in outputs.formats:
        written.append(_webdataset(root / "webdataset", faces))
    if {"imagefolder", "llava"} & set(outputs.formats):
        _cleared(root / "imagefolder")
        imagefolder_metadata.write(root / "imagefolder", _listed(faces))
        written.append(str(root / "imagefolder"))
    asker = questions.Asker((questions.Known(face.labels) for face in faces), outputs.asked)
    for name in _SETS:
        if "llava" in outputs.formats:
            path = root / f"llava_{name}.json"
            llava.write(path, _chats(faces, asker, name))
            written.append(str(path))
        if "trl" in outputs.formats:
            path = root / f"trl_{name}.parquet"
            pictures: dict[str, bytes] = {}
            trl_messages.write(path, _chats(faces, asker, name, pictures), pictures.__getitem__)
            written.append(str(path))
    return written, asker.one_sided


def _webdataset(folder: Path, faces: _Faces) -> str:
    _cleared(folder)
    for shard in faces.shards:
        webdataset.write_shard(folder / shard.name, _samples(faces, shard), schema=_PUBLISHED)
    return str(folder)


def _samples(faces: _Faces, shard: Path) -> Iterator[webdataset.Sample]:
    for face, image in faces.with_pictures(shard):
        row = face.row
        provenance = {k: v for k, v in json.loads(row["provenance"]).items() if k in face.labels or k == "caption"}
        plain = {name: row[name] for name in ("source", "width", "height", "score", "annotators")}
        notes = plain | {"labels": face.labels, "provenance": provenance, "box": row["box"]}
        columns = {"status": "success", "provenance": json.dumps(provenance)} | {
            f"label_{name}": value for name, value in face.labels.items()
        }
        yield webdataset.Sample(row["key"], image, row["caption"], notes, plain | columns)


def _listed(faces: _Faces) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    for shard in faces.shards:
        for face, image in faces.with_pictures(shard):
            every = {f"label_{name}": face.labels.get(name) for name in ITEMS}
            fields = {"text": face.row["caption"], "key": face.row["key"], "source": face.row["source"]}
            yield face.file, image, fields | every


def _chats(
    faces: _Faces, asker: questions.Asker, name: str, pictures: dict[str, bytes] | None = None
) -> Iterator[Conversation]:
    """The conversations: one a caption, or one a face with all its questions; ``pictures`` are those of its shard."""
    number = 0
    for shard in faces.shards:
        if pictures is not None:
            pictures.clear()
            pictures.update({face.file: image for face, image in faces.with_pictures(shard)})
        for face in faces.of(shard):
            image, source = face.file, "semeia annotate"
            if name == "captions":
                asked = [questions.describe(face.row["caption"], image=image, source=source)]
            else:
                asked = asker.of(number, questions.Known(face.labels), image=image, source=source)
            number += 1
            if asked:
                turns = tuple((entry.question, entry.answer) for entry in asked)
                yield Conversation(f"{face.row['key']}_{name}", image, turns, source, name)


def _cleared(folder: Path) -> None:
    """Takes away what an earlier finish wrote there, which may hold more than this one will."""
    if folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise SemeiaError(f"{folder}: cannot be replaced ({error.strerror or error})") from error


# ---------------------------------------------------------------------------------------------------------------------
# Truth and audit


def _agreement(shards: Sequence[Path], twins: Mapping[str, str], outputs: Outputs) -> list[Agreement]:
    if outputs.truth is None:
        return []
    truth = _truth(Path(outputs.truth))
    compared, agreed = Counter[str](), Counter[str]()
    for face in _Faces(shards, twins, frozenset()):
        true = truth.get(face.row["key"]) or truth.get(_source_key(face.row["source"])) or {}
        for name, value in true.items():
            if name in face.labels:
                compared[name] += 1
                agreed[name] += face.labels[name] == value
    if not compared:
        raise SemeiaError(f"{outputs.truth}: expected labels of the faces that were annotated, found no key in common")
    found = []
    for name in ITEMS:
        if compared[name]:
            share = agreed[name] / compared[name]
            dropped = share < outputs.drop_below and compared[name] >= outputs.fewest
            found.append(Agreement(name, compared[name], round(share, 4), dropped))
    return found


def _source_key(source: str) -> str:
    """Shard and key of a member of a tar, or the name of a file: ``.../shards/00007.tar/123.png`` -> ``00007/123``."""
    path = Path(source)
    key = path.name.partition(".")[0]
    return f"{path.parent.stem}/{key}" if path.parent.suffix == ".tar" else key


def _truth(path: Path) -> dict[str, dict[str, str]]:
    """Key -> what is true; of a folder of faces the key holds the shard, as keys differ within one alone."""
    told: dict[str, dict[str, str]] = {}
    if path.is_dir():
        for shard in sorted((path / "shards").glob("*.parquet")):
            columns = columns_of(read_table(shard), shard)
            for faces in (columns.labels(row) for row in range(len(columns))):
                told[f"{shard.stem}/{faces.key}"] = known(faces)
        return told
    for line, row in records_of(path, ("key", "item", "truth")):
        item = ITEMS.get(row["item"])
        if item is None:
            raise SemeiaError(f"{path}: line {line}: expected an item of the schema, found {row['item'][:40]!r}")
        if row["truth"] and row["truth"] not in item.values:
            raise SemeiaError(f"{path}: line {line}: expected one of {', '.join(item.values)} or nothing, found "
                              f"{row['truth'][:40]!r}")  # fmt: skip
        if row["truth"]:
            told.setdefault(row["key"], {})[item.name] = row["truth"]
    return told


def _write_agreement(path: Path, agreement: Sequence[Agreement]) -> str:
    lines = [f"{e.item},{ITEMS[e.item].source},{e.compared},{e.agreement},{int(e.dropped)}" for e in agreement]
    write_whole(path, "\n".join(["item,source,compared,agreement,dropped", *lines, ""]).encode())
    return str(path)


def _audit(root: Path, faces: _Faces, size: int, count: int) -> str:
    """A sample for the eye: a picture a face, and a line a label with room for the truth."""
    path = root / "audit.csv"
    if path.is_file() and any(row["truth"] for _, row in records_of(path, ("key", "item", "truth"))):
        return str(path)  # somebody's work
    chosen = set(np.random.default_rng(0).permutation(count)[:size].tolist())
    _cleared(root / "audit")
    folder = writable_folder(root / "audit")
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("key", "item", "value", "truth"))
    number = 0
    for shard in faces.shards:
        for face, image in faces.with_pictures(shard):
            if number in chosen:
                write_whole(folder / f"{face.row['key']}.jpg", image)
                write_whole(folder / f"{face.row['key']}.txt", face.row["caption"].encode())
                lines.writerows((face.row["key"], name, value, "") for name, value in face.labels.items())
            number += 1
    write_whole(path, text.getvalue().encode())
    return str(path)
