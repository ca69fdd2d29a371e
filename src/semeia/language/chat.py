r"""Chats as tokens: the model's own template, image tokens, and labels on answers alone.

A chat is a sequence of turns, a person's and the model's by turns. A picture stands in the first as ``<image>``:

    Turn("user", "<image>\nIs the mouth open?"), Turn("assistant", "Yes")

The text of each stretch between answers is tokenized by itself, so that what is trained on is cut exactly where
generation will begin. Words of a person never become control tokens: whoever writes ``<|im_end|>`` has written nothing.

Shapes      T tokens   N image tokens   B chats
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from semeia.records import SemeiaError

IMAGE = "<image>"
"""Where a picture stands in a text, as in LLaVA's JSON."""

IMAGE_ID = -200
"""Stands in place of each image token, as in LLaVA; no token of any vocabulary."""

IGNORED = -100
"""Label of what is not trained on."""

PLAIN_TEMPLATE = (
    "{{ bos_token if bos_token is defined and bos_token else '' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }} "
    "{% elif message['role'] == 'user' %}USER: {{ message['content'] }} "
    "{% else %}ASSISTANT: {{ message['content'] }}{{ eos_token }} {% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
"""For models without a template of their own, as Vicuna's."""


class Turn(NamedTuple):
    """What one side says."""

    role: Literal["user", "assistant"]
    text: str


class Sample(NamedTuple):
    """A chat as tokens."""

    ids: list[int]
    """T tokens; ``IMAGE_ID`` for those of a picture."""
    labels: list[int]
    """T; the token itself where it is trained on, else ``IGNORED``."""


class Chat:
    """Turns chats into tokens.

    Args:
        tokenizer: Of the language model.
        image_tokens: N that a picture becomes.
        system: What the model is told before all else; may be empty.
        longest: Most tokens; what is longer loses its end.
    """

    def __init__(self, tokenizer: Any, *, image_tokens: int, system: str = "", longest: int = 2048) -> None:
        self.tokenizer, self.image_tokens, self.system, self.longest = tokenizer, image_tokens, system, longest
        self.template = None if getattr(tokenizer, "chat_template", None) else PLAIN_TEMPLATE
        controls = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab(), IMAGE}
        self.controls = sorted((word for word in controls if word), key=len, reverse=True)

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens after which an answer is over."""
        end = self.tokenizer.eos_token_id
        return () if end is None else (int(end),)

    def clean(self, text: str) -> str:
        """A text without anything that the tokenizer would take for a control token or a picture."""
        before = None
        while before != text:  # taking one out may bring two halves of another together
            before = text
            for word in self.controls:
                text = text.replace(word, "")
        return text

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Tokens up to where the model's next answer begins; the last turn is a person's."""
        ids: list[int] = []
        for text, _ in self._stretches(turns):
            ids += self._tokens(text)
        return ids[: self.longest]

    def sample(self, turns: Sequence[Turn]) -> Sample:
        """Tokens and labels of a chat that ends with an answer.

        Raises:
            SemeiaError: No answer lies within ``longest`` tokens.
        """
        ids: list[int] = []
        labels: list[int] = []
        for text, answer in self._stretches(turns):
            more = self._tokens(text)
            ids += more
            labels += more if answer else [IGNORED] * len(more)
        ids, labels = ids[: self.longest], labels[: self.longest]
        if all(label == IGNORED for label in labels):
            raise SemeiaError(f"a chat of {len(ids)} tokens has no answer within the first {self.longest}; shorten "
                              f"the question {turns[0].text[:60]!r}, or raise model.longest")  # fmt: skip
        return Sample(ids, labels)

    def answer_tokens(self, text: str) -> list[int]:
        """Tokens of an answer, without its end."""
        return self._tokens(self.clean(text))

    def text(self, ids: Sequence[int]) -> str:
        """Words of tokens."""
        words: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return words

    def _stretches(self, turns: Sequence[Turn]) -> list[tuple[str, bool]]:
        """The chat's text cut where answers begin and end: pairs of text, and whether it is trained on."""
        head = [{"role": "system", "content": self.system}] if self.system else []
        messages = head + [{"role": turn.role, "content": self._content(turn)} for turn in turns]
        done, stretches = "", []
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            opened, closed = self._render(messages[:number], opens=True), self._render(messages[: number + 1])
            if not (opened.startswith(done) and closed.startswith(opened)):
                raise SemeiaError("the chat template of this language model rewrites what was said before; name "
                                  "another model, or remove its template")  # fmt: skip
            end = self.tokenizer.eos_token
            cut = closed.find(end, len(opened)) + len(end) if end and end in closed[len(opened) :] else len(closed)
            stretches += [(opened[len(done) :], False), (closed[len(opened) : cut], True), (closed[cut:], False)]
            done = closed
        if messages[-1]["role"] != "assistant":
            stretches.append((self._render(messages, opens=True)[len(done) :], False))
        return [pair for pair in stretches if pair[0]]

    def _content(self, turn: Turn) -> str:
        if turn.role == "user" and turn.text.startswith(IMAGE):
            return f"{IMAGE}\n{self.clean(turn.text.removeprefix(IMAGE)).strip()}".strip()
        return self.clean(turn.text)

    def _render(self, messages: Sequence[dict[str, str]], *, opens: bool = False) -> str:
        options = {} if self.template is None else {"chat_template": self.template}
        text: str = self.tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=opens, **options
        )
        return text

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = []
        for number, piece in enumerate(text.split(IMAGE)):
            if number:
                ids += [IMAGE_ID] * self.image_tokens
            if piece:
                ids += self.tokenizer(piece, add_special_tokens=False)["input_ids"]
        return ids


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of tokens -> (B, T) int64, filled at the end."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=torch.int64)


def collate(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """``input_ids``, ``labels`` and ``attention_mask`` of chats, each (B, T) int64, filled at the end."""
    ids = padded([sample.ids for sample in samples], 0)
    lengths = torch.tensor([len(sample.ids) for sample in samples])
    return {
        "input_ids": ids,
        "labels": padded([sample.labels for sample in samples], IGNORED),
        "attention_mask": (torch.arange(ids.shape[1])[None] < lengths[:, None]).long(),
    }
