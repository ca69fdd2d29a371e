"""Words that a base does not know, beside those that it knows: the base's own vectors are never touched.

Shapes      B prompts   T tokens of a prompt   D width of a token's vector   n vectors of a word
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from semeia.records import SemeiaError

RARE = "ktn"
"""Custom Diffusion's rare word, from whose vector a subject starts."""

_TRIGGER = re.compile(r"<[a-z0-9][a-z0-9_-]{0,62}>")
LEARNED = re.compile(r"<[^<>\s]*>(?:_\d+)?")
"""What looks like a learned word in a prompt."""


def trigger_word(text: str, tokenizer: Any) -> str:
    """A trigger as it is written in prompts, such as ``<maya>``; capitals become small.

    Raises:
        SemeiaError: It has other signs than letters, digits, - and _ between its brackets, or the base's vocabulary has
            it already: learning it would take a word away.
    """
    word = text.strip().lower()
    if not _TRIGGER.fullmatch(word):
        known = _known(word, tokenizer)
        why = "which is a word of the base's vocabulary that would lose its meaning" if known else "which is none"
        bare = re.sub(r"[^a-z0-9_-]+", "-", word).strip("-_") or "maya"
        raise SemeiaError(
            f"trigger {text!r}: expected a word in angle brackets, of letters, digits, - and _, found {word!r}, {why}; "
            f"write <{bare}>"
        )
    if _known(word, tokenizer):
        raise SemeiaError(f"trigger {word}: the base's vocabulary has this word already; choose another name")
    return word


def stem(word: str) -> str:
    """The file stem of a word: without its brackets."""
    return word.strip("<>")


def ordinary(word: str, tokenizer: Any) -> bool:
    """Whether the word without its brackets is one of the base's own, which tools that go by file names would lose."""
    return _known(stem(word), tokenizer)


def _known(word: str, tokenizer: Any) -> bool:
    vocabulary = tokenizer.get_vocab()
    return word in vocabulary or f"{word}</w>" in vocabulary


def class_word(text: str) -> str:
    """What the subject is, in any number of words and tokens, such as ``golden retriever``.

    Raises:
        SemeiaError: It is empty, longer than 60 signs, or has brackets.
    """
    words = " ".join(text.split())
    if not words or len(words) > 60 or re.search(r"[<>\[\]{}]", words):
        raise SemeiaError(f"class {text!r}: expected what the subject is, in a word or a few, such as dog")
    return words


class Vocabulary:
    """A tokenizer that knows more words; the one it was made from is left as it is.

    Args:
        tokenizer: Of the base.
        words: New ones.

    Raises:
        SemeiaError: The base knows one of them.
    """

    def __init__(self, tokenizer: Any, words: Sequence[str]) -> None:
        known = tokenizer.get_vocab()
        for word in words:
            if word in known:
                raise SemeiaError(f"{word}: the base's vocabulary has this word already; choose another name")
        self.tokenizer = copy.deepcopy(tokenizer)
        self.tokenizer.add_tokens(list(words))
        self.ids: dict[str, int] = {word: self.tokenizer.convert_tokens_to_ids(word) for word in words}

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Token numbers ``(B, T)`` as the base reads them: padded, and cut at its length."""
        length = self.tokenizer.model_max_length
        found = self.tokenizer(
            list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        return found.input_ids

    def beyond(self, prompt: str) -> int:
        """Tokens of a prompt that the base does not read."""
        tokens = self.tokenizer(prompt, truncation=False).input_ids
        return max(0, len(tokens) - int(self.tokenizer.model_max_length))


@contextmanager
def filled(text_encoder: nn.Module, vectors: Mapping[int, Tensor]) -> Iterator[None]:
    """Give tokens their vectors while a text encoder reads; position codes are added afterwards, as for any other.

    Args:
        text_encoder: With ``get_input_embeddings``; nothing of it changes.
        vectors: For each token number ``(B, D)``, one for each prompt, or ``(1, D)``, one for all. The numbers may lie
            beyond the encoder's own.
    """
    table = text_encoder.get_input_embeddings()  # type: ignore[operator]
    asked: list[Tensor] = []

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        asked.append(inputs[0])
        known = torch.stack([inputs[0] != number for number in vectors]).all(0)
        return (inputs[0] * known,)

    def after(module: nn.Module, inputs: tuple[Tensor, ...], rows: Tensor) -> Tensor:
        ids = asked.pop()
        for number, vector in vectors.items():
            rows = torch.where((ids == number)[..., None], vector[:, None].to(rows.dtype), rows)  # (B, T, D)
        return rows

    handles = [table.register_forward_pre_hook(before), table.register_forward_hook(after)] if vectors else []
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def meaning(words: str, tokenizer: Any, text_encoder: Any) -> Tensor:
    """The vector ``(D,)`` of a word of the base, the mean of its tokens where it has several."""
    ids = tokenizer(words, add_special_tokens=False).input_ids
    rows = text_encoder.get_input_embeddings().weight.detach().float()
    return rows[torch.tensor(ids, device=rows.device)].mean(0).clone()


def rare_meaning(tokenizer: Any, text_encoder: Any, *, seed: int) -> Tensor:
    """The vector ``(D,)`` of ``RARE``; where the base does not have it, a random one as long as its words are."""
    if f"{RARE}</w>" in tokenizer.get_vocab():
        return meaning(RARE, tokenizer, text_encoder)
    rows = text_encoder.get_input_embeddings().weight.detach().float().cpu()
    drawn = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(seed)) * rows.std(0) + rows.mean(0)
    return drawn / drawn.norm() * rows.norm(dim=1).mean()


def spread(prompt: str, words: Sequence[str]) -> str:
    """A prompt in which a word of several vectors stands as all of them: ``<t>`` as ``<t> <t>_1 ...``.

    Args:
        prompt: As a person wrote it.
        words: All learned ones, with the further vectors of each as ``<t>_1``, ``<t>_2`` and so on.
    """
    known = set(words)
    for word in words:
        further: list[str] = []
        while f"{word}_{len(further) + 1}" in known:
            further.append(f"{word}_{len(further) + 1}")
        if further:
            prompt = re.sub(re.escape(word) + r"(?!_\d)", " ".join([word, *further]), prompt)
    return prompt
