"""Re-annotation of pictures: one clear face, its crop, what annotators say of it, and what is left after filters.

    Paper   Sun et al., "Face-MLLM: A Large Face Perception Model", arXiv 2410.20717
    Idea    pictures with weak text get detailed captions and labels of a fixed schema from a strong annotator
    Flow    picture -> faces -> one clear face -> crop -> annotators -> votes -> filters -> annotation
    Known   the paper re-annotates 150,000 pictures of LAION-Face with Gemini-1.0-Pro-Vision, which is gone; selection,
            prompts and checks could not be read. Those here are of FaceCaption-15M or ours

Shapes      H, W pixels of a picture   S side of a crop
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL import Image

from semeia.records import Face
from semeia.systems.face_mllm import filters
from semeia.systems.face_mllm.schema import ITEMS, SCHEMA


@dataclass(frozen=True)
class Config:
    """Which faces are taken and how they are cut."""

    fewest_pixels: int = 128
    """Shorter side of the face's box. [FaceCaption-15M: 128]"""
    least_score: float = 0.5
    """The detector's probability. [FaceCaption-15M: 0.98 of another detector; default: clear faces of this library's
    finder score 0.5 to 0.95]"""
    least_presence: float = 0.9
    """The mesh network's probability that a face is there. [default: ours]"""
    rival: float = 0.35
    """A second face counts from this part of the largest face's side. [default: ours]"""
    margin: float = 0.3
    """Room round the box, as a part of its longer side, on each side. [INFERRED: the spec's default]"""
    size: int = 336
    """Largest side S of a crop; smaller ones are not enlarged. [LLaVA-1.5: 336]"""
    seed: int = 0
    """Of the order in which items are asked. [default: ours]"""


@dataclass(frozen=True)
class View:
    """What an annotator is shown: the picture (H, W, 3) uint8, the face in it, and its crop (S, S, 3) uint8."""

    image: np.ndarray
    face: Face
    crop: np.ndarray


@dataclass(frozen=True)
class Opinion:
    """What one annotator says of one face.

    ``labels`` maps items to values, without those that are unknown. ``problems`` say why something is missing:
    refused, timed out, nonsense.
    """

    caption: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Annotator(Protocol):
    """Looks at faces. Loaded once in every process."""

    name: str
    version: str

    def look(self, views: Sequence[View]) -> list[Opinion]:
        """One opinion a view, in their order.

        Raises:
            SemeiaError: It cannot answer anything any more; what fails for one face is a problem of its opinion.
        """
        ...


class Description(Protocol):
    """What makes an annotator in a worker."""

    def load(self) -> Annotator:
        """Load it.

        Raises:
            SemeiaError: It cannot be had.
        """
        ...

    def as_dict(self) -> dict[str, Any]:
        """What answers depend on, as plain values, without secrets."""
        ...


@dataclass(frozen=True)
class Annotation:
    """What became of one picture.

    Attributes:
        key: Its name in the output.
        source: Where it was found.
        status: ``kept``, or why not.
        box: Of the face in the picture, x, y, width, height in pixels.
        labels: Item -> value on which most annotators agree.
        provenance: ``caption`` and every item -> ``by`` (annotators, as places in ``annotators``), ``agreement`` (share
            of those who told anything; for the caption, share of what it tells that the labels confirm).
        annotators: Names and versions.
        problems: What annotators failed to do.
        crop: (S, S, 3) uint8 where it is kept.
        hash: See ``filters.picture_hash``; empty where there is no crop.
    """

    key: str
    source: str
    status: str
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    caption: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    annotators: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    crop: np.ndarray | None = field(default=None, repr=False, compare=False)
    hash: bytes = b""


KEPT = "kept"

Find = Callable[[np.ndarray], Sequence[Face]]


def annotate(
    pictures: Sequence[tuple[str, str, np.ndarray]],
    find: Find,
    annotators: Sequence[Annotator],
    config: Config,
    rules: filters.Config,
) -> list[Annotation]:
    """Annotate some pictures; pure but for what the annotators do.

    Args:
        pictures: Key, source and pixels (H, W, 3) uint8 of each.
        find: Finds the faces of a picture, the largest first.
        annotators: At least one; the first whose caption passes writes the caption.
        config: Which faces are taken.
        rules: Thresholds of the filters.

    Returns:
        One a picture, in their order.
    """
    picked = [pick(find(image), config) for _, _, image in pictures]
    views = [
        View(image, face, cut(image, face, config))
        for (_, _, image), face in zip(pictures, picked, strict=True)
        if isinstance(face, Face)
    ]
    said = [annotator.look(views) for annotator in annotators] if views else []
    names = tuple(f"{annotator.name} {annotator.version}" for annotator in annotators)
    looked = iter(zip(views, *said, strict=True))
    made = []
    for (key, source, _), face in zip(pictures, picked, strict=True):
        if isinstance(face, str):
            made.append(Annotation(key, source, face))
        else:
            view, *opinions = next(looked)
            made.append(settle(key, source, view, opinions, names=names, rules=rules))
    return made


def pick(faces: Sequence[Face], config: Config) -> Face | str:
    """The one clear face, or why there is none."""
    sure = [face for face in faces if face.score >= config.least_score and face.presence >= config.least_presence]
    if not sure:
        return "unclear face" if faces else "no face"
    sure.sort(key=lambda face: -_side(face))
    largest = _side(sure[0])
    if len(sure) > 1 and _side(sure[1]) >= config.rival * largest:
        return "several faces"
    return sure[0] if largest >= config.fewest_pixels else "small face"


def _side(face: Face) -> float:
    return min(face.box.width, face.box.height)


def cut(image: np.ndarray, face: Face, config: Config) -> np.ndarray:
    """The face with room round it, as a square (S, S, 3) uint8; outside the picture lies its mean colour."""
    box = face.box
    side = max(round(max(box.width, box.height) * (1 + 2 * config.margin)), 1)
    left, top = round(box.x + box.width / 2 - side / 2), round(box.y + box.height / 2 - side / 2)
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = image.mean((0, 1)).round().astype(np.uint8)
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    canvas[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    if side <= config.size:
        return canvas
    return np.asarray(Image.fromarray(canvas).resize((config.size, config.size), Image.Resampling.LANCZOS))


def settle(
    key: str, source: str, view: View, opinions: Sequence[Opinion], *, names: tuple[str, ...], rules: filters.Config
) -> Annotation:
    """Votes on every item, the first caption that passes, and the filters."""
    labels, provenance = vote([opinion.labels for opinion in opinions])
    faults: list[str] = []
    caption, writer = None, -1
    for place, opinion in enumerate(opinions):
        if opinion.caption is None:
            continue
        fault = filters.fault_of_caption(opinion.caption, rules) or filters.fault_of_pair(
            opinion.caption, labels, rules
        )
        if fault is None:
            caption, writer = opinion.caption, place
            break
        faults.append(fault)
    problems = tuple(f"{name}: {p}" for name, o in zip(names, opinions, strict=True) for p in o.problems)
    if caption is None:
        status = faults[0] if faults else "no caption"
    else:
        status = KEPT
        agreement = filters.caption_agreement(caption, labels)
        provenance["caption"] = {"by": [writer], "agreement": None if agreement is None else round(agreement, 3)}
    box = view.face.box
    return Annotation(
        key=key, source=source, status=status, box=(box.x, box.y, box.width, box.height), score=view.face.score,
        caption=caption, labels=labels, provenance=provenance, annotators=names, problems=problems,
        crop=view.crop if status == KEPT else None, hash=filters.picture_hash(view.crop) if status == KEPT else b"",
    )  # fmt: skip


def vote(ballots: Sequence[Mapping[str, str]]) -> tuple[dict[str, str], dict[str, Any]]:
    """Item -> value that most of those who told anything say, and who they are; a tie is not known."""
    labels: dict[str, str] = {}
    provenance: dict[str, Any] = {}
    for item in SCHEMA:
        told = {place: ballot[item.name] for place, ballot in enumerate(ballots) if item.name in ballot}
        if not told:
            continue
        ((value, most), *others) = Counter(told.values()).most_common(2)
        if others and others[0][1] == most:
            continue
        labels[item.name] = value
        by = [place for place, said in told.items() if said == value]
        provenance[item.name] = {"by": by, "agreement": round(most / len(told), 3)}
    return labels, provenance


# ---------------------------------------------------------------------------------------------------------------------
# Prompts for annotators that read instructions, and their answers

CAPTION_PROMPT = (
    "Describe only the visible face in 60 to 120 words: hair, forehead, brows, eyes, nose, mouth, facial hair, skin, "
    "accessories, expression, head direction and apparent age group. Left and right are the person's own. Do not name "
    "or identify the person. Say 'not visible' of what is hidden. Answer with the description alone."
)

UNKNOWN = "unknown"


def label_prompt(order: np.random.Generator) -> str:
    """Asks for all items in an order of chance, so that passes differ by more than luck."""
    lines = [
        f'"{(item := SCHEMA[int(i)]).name}": {" | ".join((*item.values, UNKNOWN))}'
        for i in order.permutation(len(SCHEMA))
    ]
    return (
        "Look at the face in the picture. For each item answer with one of its listed values, or 'unknown' where it "
        "cannot be seen. Left and right are the person's own. Return one JSON object that maps each item to its value, "
        "and nothing else.\n" + "\n".join(lines)
    )


def parse_labels(text: str) -> dict[str, str] | None:
    """Item -> value of an answer to ``label_prompt``; None where it holds no JSON object of items.

    Items that are not in the schema and values that are not listed are dropped; capitals and spaces do not matter.
    """
    start = text.find("{")
    while start >= 0:
        try:
            said, _ = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
            continue
        return _listed(said)
    return None


def _listed(said: Any) -> dict[str, str] | None:
    if not isinstance(said, dict):
        return None
    labels, heard = {}, False
    for name, value in said.items():
        item = ITEMS.get(str(name).strip().lower().replace(" ", "_"))
        if item is None:
            continue
        heard = True
        word = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
        if isinstance(word, str) and (word := word.strip().lower()) in item.values:
            labels[item.name] = word
    return labels if heard else None


def opinion_of(caption: str | None, labels: str | None, problems: Sequence[str] = ()) -> Opinion:
    """An opinion from the raw texts of an annotator; None where it gave none."""
    found = list(problems)
    if labels is not None and filters.refusal(labels):
        found.append("labels refused")
        labels = None
    told = None if labels is None else parse_labels(labels)
    if labels is not None and told is None:
        found.append("labels are nonsense")
    if caption is not None:
        caption = re.sub(r"\s+", " ", caption).strip()
        if filters.refusal(caption):
            found.append("caption refused")
            caption = None
        elif not caption:
            found.append("caption is empty")
            caption = None
    return Opinion(caption, told or {}, tuple(found))
