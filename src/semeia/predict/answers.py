"""Questions about the faces of a user's picture: find, crop, read, answer in words.

    picture -> faces from left to right -> crop -> Face-MLLM -> words, checked -> Reply, beside what was measured

Names of persons are neither asked for nor told: a rule refuses questions, and a filter stops answers. Both go by words
and capitals, so they err to the careful side, and neither understands.

Shapes      S side of a crop   H, W picture
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from semeia.checkpoint import bundled
from semeia.language.chat import IMAGE, Turn
from semeia.language.generation import stream
from semeia.language.models import SMOLLM2, embedded, open_lm
from semeia.media.images import read_image
from semeia.media.wording import UNIT_NAMES, likely_attributes
from semeia.nn.face_finder import FaceFinder
from semeia.ops.faces import crop, landmarks_68, upright_matrix
from semeia.predict.faces import FaceReader, pick_device
from semeia.recipes.face_mllm import load
from semeia.records import Face, FaceReading, SemeiaError
from semeia.systems.face_mllm.filters import names_person
from semeia.systems.face_mllm.model import FaceMLLM
from semeia.systems.face_mllm.schema import ITEMS, mentions

MOST_WORDS = 200
"""Of a question."""

MOST_TOKENS = 96
"""Of an answer."""

MOST_FACES = 8
"""Faces that are answered for with ``each``."""

KEPT = 3
"""Questions and answers of a chat that are still known when the next one is answered."""

NAMELESS = "I describe faces and do not say who somebody is."
INSTRUCTED = "I answer questions about the face and follow no other instructions. Please ask about what can be seen."
NO_FACE = "No face was found in this picture."
SILENT = "I have no answer to that."

_WHO = re.compile(
    r"\bwho(?:'s|s)?\b(?! (?:looks?|smiles?|wears?)\b)|\bwhose\b|\bidentif(?:y|ies|ied|ication)\b|\bidentity\b"
    r"|\brecogni[sz]e\b|\b(?:his|her|their|person'?s?|real|full|first|last|sur) ?names?\b|\bnamed?\b"
    r"|\bcelebrit(?:y|ies)\b|\bfamous\b|\blook ?-?alike\b|\bresembles?\b|\bwhich (?:actor|actress|singer|politician)\b"
    r"|\bsame person\b|\bdo you know (?:him|her|them|this)\b",
    re.IGNORECASE,
)
_INJECTED = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instruction|rule|prompt|above|previous|before|filter)"
    r"|\bsystem (?:prompt|message)\b|\byou are now\b|\bnew instructions?\b|\bdeveloper mode\b|\bjailbreak"
    r"|\bpretend (?:to be|that|you)\b|\bact as\b|\brole ?-?play\b|\b(?:im_start|im_end)\b|\[/?inst\]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reply:
    """An answer about one face.

    ``face`` counts from 1, from the left of the picture; None where the answer is about no face. ``readings`` are what
    was measured of what is asked for, by other networks than the one that answers. ``refused`` tells that no model was
    asked or that its answer was held back.
    """

    question: str
    text: str
    weights: str
    face: int | None = None
    faces: int = 0
    box: tuple[float, float, float, float] | None = None
    readings: Mapping[str, str] = field(default_factory=dict)
    refused: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"readings": dict(self.readings)}


@dataclass(frozen=True)
class Seen:
    """A face that can be asked about: its number from the left, its crop (3, S, S) in [0, 1], and what was read."""

    number: int
    face: Face
    crop: Tensor | None = field(default=None, repr=False)
    reading: FaceReading | None = None


class FaceAsker:
    """Finder, readers and language model, loaded once and asked many questions.

    Without weights of Face-MLLM the language model of ``lm`` does not see: it is told what was measured in words.

    Args:
        finder: Finds faces.
        weights: Name that replies carry.
        model: A trained Face-MLLM, or None.
        lm: Language model and tokenizer that are told readings where there is no model.
        reader: Reads what supports an answer; None reads nothing.
    """

    def __init__(
        self, *, finder: Any, weights: str, model: FaceMLLM | None = None, lm: tuple[Any, Any] | None = None,
        reader: Any | None = None,
    ) -> None:  # fmt: skip
        if model is None and (lm is None or reader is None):
            raise SemeiaError("ask: expected weights of Face-MLLM, or a language model with readings to tell it")
        self.finder, self.weights, self.model, self.lm, self.reader = finder, weights, model, lm, reader

    @classmethod
    def load(cls, weights: str | Path | None = None, device: str = "auto", *, readings: bool = True) -> FaceAsker:
        """Load bundled weights by name, or a checkpoint folder by path.

        Args:
            weights: Of Face-MLLM; ``readings`` for SmolLM2 that is told readings; None: bundled weights where there
                are any, else as for ``readings``.
            device: ``auto``, ``cpu`` or ``cuda``.
            readings: Whether answers stand beside what was measured.

        Raises:
            SemeiaError: Weights do not exist or do not fit, or a part cannot be had.
        """
        place = pick_device(device)
        reader = FaceReader.load(device=device) if readings or not _has_model(weights) else None
        finder = FaceFinder(device=place) if reader is None else reader.finder
        if _has_model(weights):
            model, name = load(weights or "face_mllm")
            return cls(finder=finder, weights=name, model=model.to(place), reader=reader)
        lm, tokenizer = open_lm(SMOLLM2)
        return cls(finder=finder, weights=f"{SMOLLM2}, told readings", lm=(lm.to(place), tokenizer), reader=reader)

    def look(self, path: str | Path) -> tuple[Seen, ...]:
        """The faces of a picture file, from left to right; none where there is none.

        Raises:
            SemeiaError: The file cannot be read as a picture.
        """
        image = read_image(path)
        faces = sorted(self.finder.find(image), key=lambda face: face.box.x + face.box.width / 2)
        if not faces:
            return ()
        read: Sequence[FaceReading | None] = [None] * len(faces)
        if self.reader is not None:
            read = self.reader.read_views(faces, [self.reader.views(image, face) for face in faces])
        return tuple(
            Seen(number, face, self._crop(image, face), reading)
            for number, (face, reading) in enumerate(zip(faces, read, strict=True), start=1)
        )

    def ask(
        self, path: str | Path, question: str, *, face: int | Literal["each"] | None = None, most: int = MOST_TOKENS
    ) -> tuple[Reply, ...]:
        """Answer a question about a picture.

        Args:
            path: Picture file.
            question: About a face.
            face: Which one, from 1 at the left, or ``each``; needed where there are several.
            most: Tokens of an answer at most.

        Returns:
            One reply, or one a face with ``each``.

        Raises:
            SemeiaError: The picture cannot be read, the question is empty or too long, or it is open which face is
                meant.
        """
        question = checked(question)
        seen = self.look(path)
        if not seen:
            return (Reply(question, NO_FACE, self.weights),)
        return tuple(self.reply(one, question, faces=len(seen), most=most) for one in chosen(seen, face, where=path))

    def reply(
        self, seen: Seen, question: str, *, before: Sequence[tuple[str, str]] = (), faces: int = 1,
        most: int = MOST_TOKENS,
    ) -> Reply:  # fmt: skip
        """One whole answer about one face; see ``pieces``."""
        text = "".join(self.pieces(seen, question, before=before, most=most)).strip() or SILENT
        box = seen.face.box
        return Reply(
            question, text, self.weights, face=seen.number, faces=faces,
            box=(round(box.x, 1), round(box.y, 1), round(box.width, 1), round(box.height, 1)),
            readings={} if seen.reading is None else support(question, seen.reading),
            refused=text.endswith((NAMELESS, INSTRUCTED)),
        )  # fmt: skip

    def pieces(
        self, seen: Seen, question: str, *, before: Sequence[tuple[str, str]] = (), most: int = MOST_TOKENS
    ) -> Iterator[str]:
        """Say an answer piece by piece; the last words are held back until they are known to name nobody.

        Args:
            seen: The face.
            question: About it; checked here.
            before: Questions and answers of the chat so far.
            most: Tokens at most.

        Raises:
            SemeiaError: The question is empty or too long.
        """
        question = checked(question)
        if (told := refusal_of(question)) is not None:
            yield told
            return
        yield from guarded(self._stream(seen, question, before, most))

    def _stream(self, seen: Seen, question: str, before: Sequence[tuple[str, str]], most: int) -> Iterator[str]:
        past = [turn for asked, said in before[-KEPT:] for turn in (Turn("user", asked), Turn("assistant", said))]
        turns = [*past, Turn("user", question)]
        if self.model is not None:
            turns[0] = Turn("user", f"{IMAGE}\n{turns[0].text}")
            return self.model.stream(seen.crop, turns, most=most)
        return self._told(seen, turns, most)

    def _told(self, seen: Seen, turns: Sequence[Turn], most: int) -> Iterator[str]:
        """From readings in words, by a language model that sees nothing."""
        from semeia.language.chat import Chat

        if self.lm is None or seen.reading is None:
            raise SemeiaError("ask: expected readings to tell the language model, found none")
        lm, tokenizer = self.lm
        system = (
            "You answer questions about one face, of which these measurements are known. "
            f"{described(seen.reading)} Answer in one short sentence, from the measurements alone. Never name a person."
        )
        chat = Chat(tokenizer, image_tokens=0, system=system)
        ids = torch.tensor(chat.prompt(turns), device=next(lm.parameters()).device)
        return stream(lm, tokenizer, embedded(lm, ids).detach(), most=most, ends=chat.ends)

    def _crop(self, image: np.ndarray, face: Face) -> Tensor | None:
        if self.model is None:
            return None
        config = self.model.config
        matrix = upright_matrix(landmarks_68(face.mesh), config.image_size, margin=config.margin)
        pixels = crop(image, matrix, size=config.image_size)
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div_(255)


def _has_model(weights: str | Path | None) -> bool:
    if weights is not None:
        return str(weights) != "readings"
    try:
        bundled("face_mllm")
    except SemeiaError:
        return False
    return True


def chosen(seen: Sequence[Seen], face: int | Literal["each"] | None, *, where: str | Path) -> Sequence[Seen]:
    """The faces that are meant.

    Raises:
        SemeiaError: It is open which one, or there is none of that number.
    """
    if face == "each":
        if len(seen) > MOST_FACES:
            raise SemeiaError(f"{where}: {len(seen)} faces; expected at most {MOST_FACES} with 'each'; name some of "
                              "them by number, from 1 at the left")  # fmt: skip
        return seen
    if face is None:
        if len(seen) > 1:
            raise SemeiaError(f"{where}: {len(seen)} faces; which one is meant? Name it by its number, 1 to "
                              f"{len(seen)} from the left, or 'each'")  # fmt: skip
        return seen
    if isinstance(face, bool) or not isinstance(face, int) or not 1 <= face <= len(seen):
        raise SemeiaError(f"{where}: expected a face from 1 to {len(seen)}, counted from the left, or 'each'; found "
                          f"{face!r}")  # fmt: skip
    return [seen[face - 1]]


# ---------------------------------------------------------------------------------------------------------------------
# Rules on words


def checked(question: str) -> str:
    """A question without control characters and spare blanks.

    Raises:
        SemeiaError: It is no text, empty, or too long.
    """
    if not isinstance(question, str):
        raise SemeiaError(f"expected a question as text, found {type(question).__name__}")
    text = " ".join("".join(c if c.isprintable() else " " for c in question).split())
    if not any(c.isalnum() for c in text):
        raise SemeiaError("the question is empty; ask something about the face, such as 'Is the mouth open?'")
    words = len(text.split())
    if words > MOST_WORDS or len(text) > 20 * MOST_WORDS:
        raise SemeiaError(f"the question has {words:,} words and {len(text):,} letters; expected at most "
                          f"{MOST_WORDS} words and {20 * MOST_WORDS:,} letters; ask for less at once")  # fmt: skip
    return text


def refusal_of(question: str) -> str | None:
    """What is said instead of an answer; None where the question may be answered."""
    if _INJECTED.search(question):
        return INSTRUCTED
    return NAMELESS if _WHO.search(question) else None


def guarded(pieces: Iterator[str]) -> Iterator[str]:
    """Pass pieces of a text on, two words late, and stop with ``NAMELESS`` before one that seems to name somebody."""
    text, given = "", 0
    for piece in pieces:
        text += piece
        words = [match.start() for match in re.finditer(r"\S+", text)]
        safe = words[-2] if len(words) > 2 else 0
        if names_person(text[: words[-1]] if words else text):
            yield f" {NAMELESS}" if given else NAMELESS
            return
        if safe > given:
            yield text[given:safe]
            given = safe
    if names_person(text):
        yield f" {NAMELESS}" if given else NAMELESS
    elif text[given:]:
        yield text[given:]


# ---------------------------------------------------------------------------------------------------------------------
# What was measured

_TOPICS = {
    "expression": re.compile(r"\b(?:expressions?|emotions?|feel\w*|mood|happy|sad|angry|afraid|surprised?|smil\w+)\b"),
    "age": re.compile(r"\b(?:age|aged|old|older|young|younger|years?)\b"),
    "head": re.compile(r"\b(?:head|turned|facing|looking|direction|pose|profile|tilt\w*)\b"),
    "gender": re.compile(r"\b(?:gender|sex|m[ae]n|wom[ae]n|male|female|boy|girl)\b"),
}


def support(question: str, reading: FaceReading) -> dict[str, str]:
    """What was measured of what a question asks for; the expression, age and likely attributes where that is open."""
    words = question.lower()
    topics = {name for name, pattern in _TOPICS.items() if pattern.search(words)}
    found: dict[str, str] = {}
    if "expression" in topics:
        found["expression"] = _expression(reading)
    if "age" in topics:
        found["age"] = f"about {reading.age:.0f}"
    if "head" in topics:
        pose = reading.pose
        found["head"] = f"yaw {pose.yaw:+.0f}, pitch {pose.pitch:+.0f}, roll {pose.roll:+.0f} degrees"
    if "gender" in topics and "Male" in reading.attributes:
        found["male"] = f"{reading.attributes['Male']:.0%}"
    units = {f"AU{int(number):02d}" for number in re.findall(r"\bau ?0?(\d{1,2})\b", words)}
    for name in mentions(words):
        for attribute in ITEMS[name].celeba:
            if attribute in reading.attributes and attribute != "Male":
                found[attribute.replace("_", " ").lower()] = f"{reading.attributes[attribute]:.0%}"
        units |= set(ITEMS[name].units)
    if "smil" in words:
        units.add("AU12")
    for unit in sorted(units & reading.action_units.keys()):
        found[f"{unit} {UNIT_NAMES.get(unit, '')}".strip()] = _unit(reading, unit)
    if not found:
        found = {"expression": _expression(reading), "age": f"about {reading.age:.0f}"}
        if likely := likely_attributes(reading)[:4]:
            found["likely"] = ", ".join(likely)
    return found


def described(reading: FaceReading) -> str:
    """All that was measured, in sentences."""
    units = [UNIT_NAMES.get(name, name) for name, unit in reading.action_units.items() if unit.occurrence]
    looks = [name for name in likely_attributes(reading) if name != "male"]
    male = reading.attributes.get("Male")
    pose = reading.pose
    side = "towards the camera" if abs(pose.yaw) < 12 else f"to the person's {'right' if pose.yaw > 0 else 'left'}"
    sentences = [
        f"Expression: {reading.expression_label}.",
        f"Apparent age: {reading.age:.0f}.",
        "" if male is None else f"Appears {'male' if male > 0.5 else 'female'}.",
        f"Looks: {', '.join(looks)}." if looks else "",
        f"Movements: {', '.join(units)}." if units else "No facial movement.",
        f"Head turned {side}.",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _expression(reading: FaceReading) -> str:
    label = reading.expression_label
    return f"{label} {reading.expression[label]:.0%}"


def _unit(reading: FaceReading, name: str) -> str:
    unit = reading.action_units[name]
    return f"{'present' if unit.occurrence else 'absent'}, intensity {unit.intensity:.1f} of 5"
