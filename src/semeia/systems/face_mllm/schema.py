"""The fixed list of what an annotator is asked about a face, and the words by which text mentions it.

    Paper   Sun et al., "Face-MLLM: A Large Face Perception Model", arXiv 2410.20717
    Idea    every face is labelled by one list, so that annotators can be compared and questions can be balanced
    Flow    labels of a data set, or an annotator's JSON -> item: value -> captions, filters, questions
    Known   that attribute labels are made is the paper's; its list could not be read. This one is CelebA's attributes
            (without "Attractive", a judgement of persons) and finer items of our own, marked ``new``
    Shapes  none: text and names

A value that is not known is absent. Sides are the subject's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from semeia.records import EXPRESSIONS, FaceLabels

YES, NO = "yes", "no"
Verb = Literal["have", "wear", "be"]


@dataclass(frozen=True)
class Item:
    """One thing that is asked.

    Attributes:
        name: Key in labels.
        group: Part of the face.
        phrase: What follows the verb in "Does this person have ...?"; for a choice, what is chosen ("hair colour").
        verb: Of the question.
        words: Value -> words by which text says so; ``~`` stands for up to two words between. For yes or no, those
            of "yes" hold the synonyms.
        celeba: CelebA attribute -> values where it is 1 and where it is 0; None: not known then.
        units: Action units of which any present means yes, and all absent means no.
        new: Whether it is none of CelebA's.
    """

    name: str
    group: str
    phrase: str
    verb: Verb = "have"
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    celeba: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    units: tuple[str, ...] = ()
    new: bool = True

    @property
    def values(self) -> tuple[str, ...]:
        """What can be answered."""
        return tuple(self.words)

    @property
    def closed(self) -> bool:
        """Whether the answer is yes or no."""
        return self.values == (YES, NO)

    @property
    def source(self) -> str:
        """Where the item is from: ``celeba40`` or ``new``."""
        return "new" if self.new else "celeba40"


def _yes(
    name: str, group: str, phrase: str, *synonyms: str, verb: Verb = "have", celeba: str | None = None,
    inverse: bool = False, units: tuple[str, ...] = (), absent: tuple[str, ...] = (),
) -> Item:  # fmt: skip
    """An item of yes or no; ``absent`` are words that say no by themselves."""
    told = {} if celeba is None else {celeba: (NO, YES) if inverse else (YES, NO)}
    bare = re.sub(r"^(an?|the) ", "", phrase)
    words = {YES: tuple(dict.fromkeys((bare, *synonyms))), NO: absent}
    return Item(name, group, phrase, verb, words, told, units, celeba is None)


def _one(
    name: str, group: str, phrase: str, words: Mapping[str, tuple[str, ...]],
    celeba: Mapping[str, tuple[str | None, str | None]] | None = None,
) -> Item:  # fmt: skip
    """An item of one value among several."""
    return Item(name, group, phrase, words=words, celeba=celeba or {}, new=celeba is None)


def _hair(*values: str) -> dict[str, tuple[str, ...]]:
    return {value: (f"{value} ~hair",) for value in values}


_MOODS = {
    "neutral": ("neutral expression", "neutral face", "looks neutral", "expressionless"),
    "happiness": ("happy", "joyful", "cheerful"),
    "sadness": ("sad", "sorrowful"),
    "surprise": ("surprised", "astonished"),
    "fear": ("afraid", "fearful", "scared"),
    "disgust": ("disgusted",),
    "anger": ("angry",),
    "contempt": ("contemptuous",),
}

SCHEMA: tuple[Item, ...] = (
    _one("hair_colour", "hair", "hair colour",
         {"black": ("black ~hair",), "blond": ("blond ~hair", "blonde ~hair"), "brown": ("brown ~hair",),
          "grey": ("grey ~hair", "gray ~hair", "white ~hair"), "red": ("red ~hair", "ginger ~hair")},
         {"Black_Hair": ("black", None), "Blond_Hair": ("blond", None), "Brown_Hair": ("brown", None),
          "Gray_Hair": ("grey", None)}),
    _one("hair_texture", "hair", "hair texture", _hair("straight", "wavy", "curly"),
         {"Straight_Hair": ("straight", None), "Wavy_Hair": ("wavy", None)}),
    _one("hair_length", "hair", "hair length",
         {"shaved": ("shaved head",), "short": ("short ~hair",), "medium": ("medium-length ~hair",),
          "long": ("long ~hair",)}),
    _yes("bald", "hair", "bald", "bald head", verb="be", celeba="Bald"),
    _yes("bangs", "hair", "bangs", "a fringe", "fringe", celeba="Bangs"),
    _yes("receding_hairline", "hair", "a receding hairline", "high hairline", celeba="Receding_Hairline"),
    _yes("hair_tied", "hair", "hair that is tied back", "ponytail", "hair bun", "hair tied back"),
    _yes("hair_over_ears", "hair", "hair over the ears", "ears covered by hair"),
    _yes("hair_parting", "hair", "a visible hair parting", "parted hair"),
    _yes("dyed_hair", "hair", "hair dyed in an unnatural colour", "dyed hair"),
    _yes("bushy_eyebrows", "brows", "bushy eyebrows", "thick eyebrows", "bushy brows", "thick brows",
         celeba="Bushy_Eyebrows"),
    _yes("arched_eyebrows", "brows", "arched eyebrows", "arched brows", celeba="Arched_Eyebrows"),
    _yes("thin_eyebrows", "brows", "thin eyebrows", "thin brows"),
    _yes("raised_brows", "brows", "raised brows", "raised eyebrows", "lifted brows", units=("AU01", "AU02")),
    _yes("lowered_brows", "brows", "lowered brows", "lowered eyebrows", "furrowed brows", "drawn-down brows",
         units=("AU04",)),
    _yes("narrow_eyes", "eyes", "narrow eyes", celeba="Narrow_Eyes"),
    _yes("bags_under_eyes", "eyes", "bags under the eyes", "eye bags", "under-eye bags", "puffy eyes", "dark circles",
         celeba="Bags_Under_Eyes"),
    _yes("eyes_closed", "eyes", "closed eyes", "eyes closed", "shut eyes", units=("AU43",)),
    _yes("wide_eyes", "eyes", "eyes opened wide", "wide eyes", "widened eyes", "wide-open eyes", units=("AU05",)),
    _yes("tight_eyelids", "eyes", "tightened eyelids", "squinting eyes", "tense eyelids", units=("AU07",)),
    _one("eye_colour", "eyes", "eye colour",
         {c: (f"{c} eyes",) for c in ("brown", "blue", "green", "grey")}),
    _one("gaze", "eyes", "gaze direction",
         {"at the camera": ("looks at the camera", "looking at the camera"), "left": ("gazes left", "gazing left"),
          "right": ("gazes right", "gazing right"), "up": ("gazes up", "gazing up"),
          "down": ("gazes down", "gazing down")}),
    _yes("winking", "eyes", "winking", "winks", verb="be"),
    _yes("eye_makeup", "eyes", "eye make-up", "eyeliner", "eyeshadow", "mascara", verb="wear"),
    _yes("big_nose", "nose", "a big nose", "large nose", celeba="Big_Nose"),
    _yes("pointy_nose", "nose", "a pointy nose", "pointed nose", celeba="Pointy_Nose"),
    _yes("wide_nose", "nose", "a wide nose", "broad nose"),
    _yes("wrinkled_nose", "nose", "a wrinkled nose", "scrunched nose", units=("AU09",)),
    _yes("mouth_open", "mouth", "a slightly open mouth", "open mouth", "parted lips", "lips parted",
         celeba="Mouth_Slightly_Open", absent=("closed mouth", "mouth closed")),
    _yes("mouth_wide_open", "mouth", "a mouth opened wide", "wide-open mouth", units=("AU27",)),
    _yes("jaw_dropped", "mouth", "a dropped jaw", "lowered jaw", units=("AU26",)),
    _yes("teeth", "mouth", "visible teeth", "teeth showing", "shows teeth"),
    _yes("tongue", "mouth", "the tongue out", "tongue out"),
    _yes("big_lips", "mouth", "big lips", "full lips", "thick lips", celeba="Big_Lips"),
    _yes("lipstick", "mouth", "lipstick", "painted lips", verb="wear", celeba="Wearing_Lipstick"),
    _yes("smiling", "mouth", "smiling", "smiles", "a smile", "smile", verb="be", celeba="Smiling"),
    _yes("raised_upper_lip", "mouth", "a raised upper lip", "upper lip raised", units=("AU10",)),
    _yes("corners_down", "mouth", "mouth corners pulled down", "downturned mouth", units=("AU15",)),
    _yes("mouth_dimples", "mouth", "dimpled mouth corners", "tightened mouth corners", units=("AU14",)),
    _yes("stretched_lips", "mouth", "lips stretched sideways", "stretched lips", units=("AU20",)),
    _yes("tight_lips", "mouth", "tightened lips", units=("AU23",)),
    _yes("pressed_lips", "mouth", "lips pressed together", "pressed lips", units=("AU24",)),
    _yes("beard", "facial hair", "a beard", "bearded", "facial hair", celeba="No_Beard", inverse=True,
         absent=("clean-shaven", "clean shaven")),
    _yes("moustache", "facial hair", "a moustache", "mustache", celeba="Mustache"),
    _yes("goatee", "facial hair", "a goatee", "goatees", "chin beard", "chin tuft", celeba="Goatee"),
    _yes("stubble", "facial hair", "stubble", "five o'clock shadow", celeba="5_o_Clock_Shadow"),
    _yes("sideburns", "facial hair", "sideburns", celeba="Sideburns"),
    _yes("oval_face", "face", "an oval face", celeba="Oval_Face"),
    _yes("round_face", "face", "a round face"),
    _yes("square_jaw", "face", "a square jaw"),
    _yes("high_cheekbones", "face", "high cheekbones", "prominent cheekbones", celeba="High_Cheekbones"),
    _yes("chubby", "face", "chubby", "plump", verb="be", celeba="Chubby"),
    _yes("double_chin", "face", "a double chin", celeba="Double_Chin"),
    _yes("cleft_chin", "face", "a cleft chin", "chin dimple"),
    _yes("raised_chin", "face", "a chin pushed up", "wrinkled chin", units=("AU17",)),
    _yes("raised_cheeks", "face", "raised cheeks", "lifted cheeks", units=("AU06",)),
    _one("skin_tone", "skin", "skin tone", {t: (f"{t} skin",) for t in ("light", "medium-toned", "dark")}),
    _yes("pale_skin", "skin", "pale skin", celeba="Pale_Skin"),
    _yes("rosy_cheeks", "skin", "rosy cheeks", "rosy", "blush", "blushing", "flushed", "red cheeks", "pink cheeks",
         "ruddy", celeba="Rosy_Cheeks"),
    _yes("wrinkles", "skin", "wrinkles", "wrinkled skin"),
    _yes("forehead_lines", "skin", "lines on the forehead", "forehead lines"),
    _yes("freckles", "skin", "freckles", "freckled"),
    _yes("shiny_skin", "skin", "shiny skin"),
    _yes("mole", "skin", "a visible mole", "mole"),
    _yes("scar", "skin", "a visible scar", "scar"),
    _yes("heavy_makeup", "skin", "heavy make-up", "heavy makeup", verb="wear", celeba="Heavy_Makeup"),
    _yes("eyeglasses", "things", "eyeglasses", "glasses", "spectacles", "eyewear", "eyeglass", "bespectacled",
         verb="wear", celeba="Eyeglasses"),
    _yes("sunglasses", "things", "sunglasses", "dark glasses", verb="wear"),
    _yes("hat", "things", "a hat", "hats", "cap", "beanie", "headwear", "headgear", "helmet", "bonnet", verb="wear",
         celeba="Wearing_Hat"),
    _yes("headscarf", "things", "a headscarf", "head scarf", "hijab", verb="wear"),
    _yes("earrings", "things", "earrings", "earring", "ear studs", "ear jewellery", verb="wear",
         celeba="Wearing_Earrings"),
    _yes("piercing", "things", "a facial piercing", "piercing", "nose ring"),
    _yes("necklace", "things", "a necklace", verb="wear", celeba="Wearing_Necklace"),
    _yes("necktie", "things", "a necktie", "bow tie", verb="wear", celeba="Wearing_Necktie"),
    _yes("scarf", "things", "a scarf round the neck", verb="wear"),
    _yes("headphones", "things", "headphones", "earphones", verb="wear"),
    _yes("mask", "things", "a face mask", "mask", "masks", "masked", "respirator", verb="wear", celeba="Mask"),
    _yes("face_covered", "things", "a hand or thing before the face", "hand before the face"),
    _one("expression", "state", "expression", {name: _MOODS[name] for name in EXPRESSIONS}),
    _one("mood", "state", "mood of the face",
         {"pleasant": ("pleasant mood",), "neither": ("indifferent mood",), "unpleasant": ("unpleasant mood",)}),
    _one("head_turn", "state", "head direction",
         {"frontal": ("faces the camera", "facing the camera"),
          "left": ("turned to the left", "turned to his left", "turned to her left", "turned to their left"),
          "right": ("turned to the right", "turned to his right", "turned to her right", "turned to their right")}),
    _one("head_nod", "state", "head height",
         {"level": ("head held level", "level head"), "up": ("head raised", "tilted up"),
          "down": ("head lowered", "tilted down")}),
    _yes("young", "person", "young", "youthful", verb="be", celeba="Young"),
    _one("age_group", "person", "apparent age group",
         {"child": ("child", "boy", "girl"), "teenager": ("teenager", "teenage"), "young adult": ("young adult",),
          "middle-aged": ("middle-aged",), "senior": ("senior", "elderly")}),
    _one("gender", "person", "apparent gender", {"male": ("man", "male", "boy"), "female": ("woman", "female", "girl")},
         {"Male": ("male", "female")}),
    _yes("blurry", "picture", "blurred in this picture", "blurry", verb="be", celeba="Blurry"),
    _yes("grey_picture", "picture", "shown in black and white", "monochrome", verb="be"),
)  # fmt: skip
"""All items, in the order in which they are asked."""

ITEMS: Mapping[str, Item] = {item.name: item for item in SCHEMA}

HELD_OUT: Mapping[str, tuple[str, ...]] = {
    "eyeglasses": ("sunglasses",),
    "hat": ("headscarf",),
    "mask": ("face_covered",),
    "goatee": (),
    "bangs": (),
    "earrings": ("piercing",),
    "rosy_cheeks": (),
    "bags_under_eyes": (),
}
"""Items that no training question asks, for the test of unseen attributes, each with those that would give it away.

The face world labels all of them, so that they can be tested against truth that no annotator made.
"""

_AGES = ((13, "child"), (20, "teenager"), (36, "young adult"), (60, "middle-aged"), (math.inf, "senior"))
_FRONTAL, _TURNED = 8.0, 15.0  # degrees; between them nobody could be sure
_PLEASANT, _NEITHER = 0.3, 0.1


def barred(held_out: Iterable[str]) -> frozenset[str]:
    """Items that may not be asked where some are held out: those and what would give them away."""
    names = tuple(held_out)
    return frozenset(names) | {kin for name in names for kin in HELD_OUT.get(name, ())}


def known(labels: FaceLabels) -> dict[str, str]:
    """What the labels of a data set say about the items; what they leave open is absent."""
    found: dict[str, str] = {}
    for item in SCHEMA:
        said = {
            value
            for name, values in item.celeba.items()
            if name in labels.attributes and (value := values[0 if labels.attributes[name] == 1 else 1]) is not None
        }
        if len(said) == 1:
            found[item.name] = said.pop()
        units = [labels.au_occurrence[unit] for unit in item.units if unit in labels.au_occurrence]
        if any(units):
            found[item.name] = YES
        elif units and len(units) == len(item.units):
            found[item.name] = NO
    if labels.expression is not None:
        found["expression"] = labels.expression
    if labels.age is not None:
        found["age_group"] = next(name for limit, name in _AGES if labels.age < limit)
    if labels.pose is not None:
        found |= _told("head_turn", labels.pose.yaw, "right", "left", "frontal")
        found |= _told("head_nod", labels.pose.pitch, "up", "down", "level")
    if labels.valence is not None:
        size = abs(labels.valence)
        if size >= _PLEASANT:
            found["mood"] = "pleasant" if labels.valence > 0 else "unpleasant"
        elif size <= _NEITHER:
            found["mood"] = "neither"
    return found


def _told(name: str, angle: float, above: str, below: str, within: str) -> dict[str, str]:
    if abs(angle) >= _TURNED:
        return {name: above if angle > 0 else below}
    return {name: within} if abs(angle) <= _FRONTAL else {}


# ---------------------------------------------------------------------------------------------------------------------
# Words

_NOT = re.compile(
    r"\b(?:no|not|without|lacks?|lacking|free of|never|neither|nor|isn't|doesn't|hasn't)\b"
    r"(?: (?:have|has|having|wear|wearing|show|showing|any))*"
)
_ANEW = re.compile(r"\b(?:with|has|have|having|wears?|wearing|is|are|shows?|but|while|however)\b")
_HIDDEN = re.compile(r"^[^.;,]{0,20}\b(?:not visible|hidden|cannot be seen|unclear)\b")
_CLAUSE = re.compile(r"[.;:!?]")


_BEFORE = r"(?<![\w-])"


def pattern(word: str) -> str:
    """Regular expression of a word of the schema; what follows ``~`` must come, but may serve other words too."""
    head, _, tail = word.partition("~")
    ahead = rf"(?=(?:[\w-]+,? ){{0,2}}{re.escape(tail)}(?!\w))" if tail else r"(?!\w)"
    return rf"{_BEFORE}{re.escape(head)}{ahead}"


@lru_cache(maxsize=1)
def _phrases() -> tuple[tuple[str, re.Pattern[str], str, str], ...]:
    """Last letters, pattern, item and value of every word, the longest first."""
    words = [(word, item.name, value) for item in SCHEMA for value, ws in item.words.items() for word in ws]
    words.sort(key=lambda entry: -len(entry[0]))
    return tuple((word.split("~")[-1], re.compile(pattern(word)), name, value) for word, name, value in words)


def mentions(text: str) -> dict[str, str]:
    """What a text says about the items: item -> value. What it calls hidden, or says both ways, is absent.

    A rule of words, not understanding: a word counts as denied where "no", "not", "without" ... stands before it in its
    clause and no verb or "with" between.
    """
    said: dict[str, set[str]] = {}
    for clause in _CLAUSE.split(text.lower()):
        taken: list[tuple[int, int]] = []
        for ending, regex, name, value in _phrases():
            if ending not in clause:
                continue
            for match in regex.finditer(clause):
                start, end = match.span()
                # A longer word owns its letters: "wrinkled nose" says nothing of skin. One word may say two things.
                if (start, end) not in taken and any(start < e and s < end for s, e in taken):
                    continue
                taken.append((start, end))
                if _HIDDEN.match(clause[end:]):
                    continue
                if not _denied(clause[:start]):
                    said.setdefault(name, set()).add(value)
                elif ITEMS[name].closed and value == YES:
                    said.setdefault(name, set()).add(NO)
    return {name: values.pop() for name, values in said.items() if len(values) == 1}


def _denied(before: str) -> bool:
    last = max((match.end() for match in _NOT.finditer(before)), default=-1)
    return last >= 0 and last >= max((match.end() for match in _ANEW.finditer(before)), default=-1)


def leaks(text: str, held_out: Sequence[str] = tuple(HELD_OUT)) -> list[str]:
    """Words of a text that give away items that are held out, in the order of the items."""
    low = text.lower()
    any_of_them, each = _telling(tuple(held_out))
    if not any_of_them.search(low):  # as in nearly all of the many texts that this is asked of
        return []
    return [word for word, regex in each if regex.search(low)]


@lru_cache(maxsize=64)
def _telling(held_out: tuple[str, ...]) -> tuple[re.Pattern[str], tuple[tuple[str, re.Pattern[str]], ...]]:
    """A pattern of all words that give held-out items away, and each of them with its own; no items, no words."""
    words = [word for item in SCHEMA if item.name in barred(held_out) for word in item.words[YES]]
    rest = "|".join(pattern(word).removeprefix(_BEFORE) for word in words)
    whole = re.compile(rf"{_BEFORE}(?:{rest})" if words else r"(?!)")
    return whole, tuple((word, re.compile(pattern(word))) for word in words)
