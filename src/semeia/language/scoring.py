"""What a model thinks of given answers, and what it meant by its own.

Shapes      B prompts   T tokens   D width of the language model   V vocabulary   A tokens of an option
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semeia.language.generation import new_cache, side_by_side
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
    scores: list[np.ndarray] = [np.empty(0)] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # little padding
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        found = _likelihoods(lm, [prompts[i] for i in chosen], [options[i] for i in chosen], batch_size)
        for i, row in zip(chosen, found, strict=True):
            scores[i] = row
    return scores


def _likelihoods(
    lm: Any, prompts: Sequence[Tensor], options: Sequence[Sequence[Sequence[int]]], batch_size: int
) -> list[np.ndarray]:
    """Prompts are read once; their options go on from what was kept of them."""
    texts, mask, place = side_by_side(prompts)
    (name, cache), *_ = new_cache(lm).items()
    out = lm(inputs_embeds=texts, attention_mask=mask, position_ids=place, use_cache=True, logits_to_keep=1,
             **{name: cache})  # fmt: skip
    first = out.logits[:, -1].float().log_softmax(-1)  # (B, V)
    pairs = [(row, list(tokens)) for row, of in enumerate(options) for tokens in of]
    found: list[list[float]] = [[] for _ in prompts]
    for start in range(0, len(pairs), batch_size):
        some = pairs[start : start + batch_size]
        rows = torch.tensor([row for row, _ in some], device=texts.device)
        longest = max(len(tokens) for _, tokens in some)
        ids = torch.tensor([tokens + [tokens[-1]] * (longest - len(tokens)) for _, tokens in some], device=rows.device)
        there = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for _, t in some], device=rows.device)  # (B, A)
        told = first[rows, ids[:, 0]][:, None]  # (B, 1)
        if longest > 1:
            kept = deepcopy(cache)
            kept.batch_select_indices(rows)
            out = lm(
                inputs_embeds=embedded(lm, ids[:, :-1]), attention_mask=torch.cat([mask[rows], there[:, :-1]], 1),
                position_ids=place[rows, -1:] + 1 + torch.arange(longest - 1, device=rows.device), use_cache=True,
                **{name: kept},
            )  # fmt: skip
            more = out.logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]  # (B, A - 1)
            told = torch.cat([told, more], 1)
        means = ((told * there).sum(1) / there.sum(1)).tolist()
        for (row, _), mean in zip(some, means, strict=True):
            found[row].append(mean)
    return [np.array(row) for row in found]


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
