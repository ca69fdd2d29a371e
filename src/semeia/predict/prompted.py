"""Opinions of models that read instructions: one prompt for a caption, some for labels, which vote.

Shapes      S side of a crop
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from semeia.systems.face_mllm.annotate import CAPTION_PROMPT, Opinion, View, label_prompt, opinion_of, vote

Talk = Callable[[np.ndarray, str, int], str]
"""Crop (S, S, 3), prompt, most new tokens -> answer."""


class PromptedAnnotator:
    """Asks a model that reads instructions: once for a caption, and ``passes`` times for labels, which then vote.

    Args:
        talk: Answers a prompt about a crop.
        name: Of the model.
        version: Of the model.
        passes: Rounds of labels, each in another order; a tie is not known.
        seed: Of the orders.
    """

    def __init__(self, talk: Talk, *, name: str, version: str, passes: int, seed: int) -> None:
        self.talk, self.name, self.version, self.passes, self.seed = talk, name, version, passes, seed

    def look(self, views: Sequence[View]) -> list[Opinion]:
        """One opinion a view."""
        return [self._opinion(view) for view in views]

    def _opinion(self, view: View) -> Opinion:
        return ask(lambda prompt, most: self.talk(view.crop, prompt, most), view, self)


class UnansweredError(Exception):
    """A model gave no answer to one prompt; its text says why."""


class Asking(Protocol):
    """What ``ask`` needs to know."""

    passes: int
    seed: int


CAPTION_TOKENS, LABEL_TOKENS = 320, 1600


def ask(answer: Callable[[str, int], str], view: View, how: Asking) -> Opinion:
    """An opinion by prompts; what was refused, nonsense or not answered is missing, and said so."""
    problems: list[str] = []

    def heard(prompt: str, most: int, what: str) -> str | None:
        try:
            return answer(prompt, most)
        except UnansweredError as error:
            problems.append(f"{what} {error}")
            return None

    written = opinion_of(heard(CAPTION_PROMPT, CAPTION_TOKENS, "caption"), None)
    crop = zlib.crc32(view.crop.tobytes())
    rounds = [
        opinion_of(
            None,
            heard(label_prompt(np.random.default_rng([how.seed, crop, number])), LABEL_TOKENS, "labels"),
        )
        for number in range(how.passes)
    ]
    labels, _ = vote([each.labels for each in rounds])
    told = (*problems, *written.problems, *(p for each in rounds for p in each.problems))
    return Opinion(written.caption, labels, tuple(dict.fromkeys(told)))
