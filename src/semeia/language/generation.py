"""Answers, token by token, from a prompt of vectors.

Shapes      B prompts   T tokens of a prompt   D width of the language model   V vocabulary
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from semeia.language.models import embedded, library

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@torch.no_grad()
def stream(
    lm: Any, tokenizer: Any, prompt: Tensor, *, most: int, ends: Sequence[int], temperature: float = 0.0, seed: int = 0
) -> Iterator[str]:
    """Say an answer piece by piece.

    Args:
        lm: The language model.
        tokenizer: Its tokenizer.
        prompt: (T, D).
        most: New tokens at most.
        ends: Tokens after which the answer is over.
        temperature: 0 takes the likeliest token each time; else tokens are drawn.
        seed: Of the drawing.

    Yields:
        Text that follows on what was yielded before; never half a character.
    """
    dice = torch.Generator(prompt.device).manual_seed(seed)
    cache, step, said, ids = new_cache(lm), prompt[None], "", []
    for _ in range(most):
        logits = lm(inputs_embeds=step, use_cache=True, logits_to_keep=1, **cache).logits[0, -1].float()  # (V,)
        if temperature > 0:
            token = int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=dice))
        else:
            token = int(logits.argmax())
        if token in ends:
            break
        ids.append(token)
        text = tokenizer.decode(ids, skip_special_tokens=True)
        if not text.endswith(_REPLACEMENT) and len(text) > len(said):  # bytes of a character may be still to come
            yield text[len(said) :]
            said = text
        step = embedded(lm, torch.tensor([[token]], device=prompt.device))


@torch.no_grad()
def answers(lm: Any, tokenizer: Any, prompts: Sequence[Tensor], *, most: int, ends: Sequence[int]) -> list[str]:
    """The likeliest answer to each of B prompts (T, D), token by token, all at once.

    Args:
        lm: The language model.
        tokenizer: Its tokenizer.
        prompts: Vectors; lengths may differ.
        most: New tokens at most.
        ends: Tokens after which an answer is over.
    """
    step, mask, place = side_by_side(prompts)
    said: list[list[int]] = [[] for _ in prompts]
    going = [True] * len(prompts)
    cache = new_cache(lm)
    for _ in range(most):
        out = lm(inputs_embeds=step, attention_mask=mask, position_ids=place, use_cache=True, logits_to_keep=1, **cache)
        tokens = out.logits[:, -1].float().argmax(-1)  # (B,)
        for row, token in enumerate(tokens.tolist()):
            going[row] &= token not in ends
            if going[row]:
                said[row].append(token)
        if not any(going):
            break
        step = embedded(lm, tokens[:, None])
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], 1)
        place = place[:, -1:] + 1
    return [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in said]


def side_by_side(prompts: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """B prompts (T, D) that all end at the same place, (B, T, D); where they are, and tokens' places, (B, T)."""
    longest = max(len(p) for p in prompts)
    texts = torch.stack([torch.cat([p.new_zeros(longest - len(p), p.shape[1]), p]) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=texts.device)
    return texts, mask, (mask.cumsum(1) - 1).clamp(min=0)


def new_cache(lm: Any) -> dict[str, Any]:
    """Keys and values of what was read, under the name that this release of transformers gives them."""
    inner = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
    name = "cache" if "cache" in inspect.signature(inner.forward).parameters else "past_key_values"
    return {name: library("transformers").DynamicCache()}
