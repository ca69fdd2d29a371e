"""What a model thinks of given answers, and what it meant by its own.

Shapes      B prompts   T tokens   D width of the language model   V vocabulary   A tokens of an option
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semeia.language.models import embedded

YES, NO = "yes", "no"


@torch.no_grad()
def option_scores(
    lm: Any, prompts: Sequence[Tensor], options: Sequence[Sequence[Sequence[int]]], *, batch_size: int = 32
) -> list[np.ndarray]:
    """Mean log-likelihood of a token of each option after its prompt.

    The mean, not the sum: longer options would be unlikely by their length alone.

    Args:
        lm: The language model.
        prompts: B times (T, D) vectors.
        options: For each prompt the tokens of its options, at least one each.
        batch_size: Texts that are read at once.

    Returns:
        For each prompt one number an option.
    """
    pairs = [(number, tuple(tokens)) for number, of in enumerate(options) for tokens in of]
    scores = np.empty(len(pairs))
    order = sorted(range(len(pairs)), key=lambda i: len(prompts[pairs[i][0]]) + len(pairs[i][1]))  # little padding
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        scores[chosen] = _likelihoods(lm, [(prompts[pairs[i][0]], pairs[i][1]) for i in chosen])
    found: list[list[float]] = [[] for _ in prompts]
    for (number, _), score in zip(pairs, scores, strict=True):
        found[number].append(float(score))
    return [np.array(row) for row in found]


def _likelihoods(lm: Any, pairs: Sequence[tuple[Tensor, tuple[int, ...]]]) -> np.ndarray:
    device = pairs[0][0].device
    rows = [torch.cat([prompt, embedded(lm, torch.tensor(ids, device=device))]) for prompt, ids in pairs]
    longest = max(len(row) for row in rows)
    texts = torch.stack([F.pad(row, (0, 0, 0, longest - len(row))) for row in rows])  # (B, T, D)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    first = min(len(prompt) for prompt, _ in pairs) - 1  # the earliest place that tells an option's token
    out = lm(inputs_embeds=texts, attention_mask=mask, use_cache=False, logits_to_keep=longest - first)
    told = out.logits.float().log_softmax(-1)  # (B, T - first, V)
    means = []
    for row, (prompt, ids) in enumerate(pairs):
        place = torch.arange(len(ids), device=device) + len(prompt) - 1 - first
        means.append(float(told[row, place, torch.tensor(ids, device=device)].mean()))
    return np.array(means)


def parse(text: str, options: Sequence[str]) -> str | None:
    """The option that an answer means: the one that it is, else the first that it mentions, else None.

    >>> parse("Yes, she is.", ["Yes", "No"])
    'Yes'
    >>> parse("No idea", ["happiness", "sadness"]) is None
    True
    """
    said = _plain(text)
    for option in options:
        if said == _plain(option):
            return option
    places = []
    for option in options:
        found = re.search(rf"(?<!\w){re.escape(_plain(option))}(?!\w)", said)
        if found:
            places.append((found.start(), -len(option), option))  # of two at one place the longer one was meant
    return min(places)[2] if places else None


def parse_number(text: str) -> float | None:
    """The first number of an answer, or None."""
    found = re.search(r"\d+(?:\.\d+)?", text)
    return None if found is None or len(found[0]) > 12 else float(found[0])


def parse_list(text: str, options: Sequence[str]) -> tuple[str, ...] | None:
    """Options that an answer mentions, in the options' order; () where it says none, None where it says neither."""
    said = _plain(text)
    found = tuple(o for o in options if re.search(rf"(?<!\w){re.escape(_plain(o))}(?!\w)", said))
    return found if found or re.search(r"\bnone\b", said) else None


def unparsable_rate(parsed: Sequence[object | None]) -> float:
    """Part of the answers that mean nothing that was asked for; NaN of none."""
    return float(np.mean([answer is None for answer in parsed])) if parsed else float("nan")


def yes_rate(chosen: Sequence[str | None]) -> float:
    """Part of yes among answers that are yes or no, NaN of none; 0.5 on balanced questions shows no bias."""
    said = [answer.lower() for answer in chosen if answer is not None and answer.lower() in (YES, NO)]
    return float(np.mean([answer == YES for answer in said])) if said else float("nan")


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.lower()).strip(" \t\n.,;:!?\"'`*()[]")
