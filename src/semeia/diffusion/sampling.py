"""Drawing: one picture depends on its prompt, its seed and the model, never on what is drawn beside it.

Shapes      T tokens of a prompt   D width of the text   n vectors of a word   H, W picture
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semeia.diffusion.words import Vocabulary, filled, spread
from semeia.records import SemeiaError


@dataclass(frozen=True)
class Drawn:
    """A picture that was drawn.

    ``image`` is (H, W, 3) uint8. ``prompt`` is what the base was told. ``flagged``: the base's own safety checker took
    the picture away and left a black one.
    """

    image: np.ndarray = field(repr=False, compare=False)
    prompt: str
    seed: int
    flagged: bool = False


def rows_of(words: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One word for each vector, as diffusers names them: ``<t>``, ``<t>_1``, ...; vectors ``(1, D)`` of ``(n, D)``."""
    return {
        word if number == 0 else f"{word}_{number}": vector[None]
        for word, vectors in words.items()
        for number, vector in enumerate(vectors)
    }


@torch.no_grad()
def text_states(pipeline: Any, prompt: str, words: Mapping[str, Tensor]) -> Tensor:
    """What the U-Net reads of a prompt with learned words.

    Args:
        pipeline: The base, which is left as it is.
        prompt: With any of ``words``.
        words: Vectors ``(n, D)`` of each.

    Returns:
        ``(1, T, D)``.
    """
    rows = rows_of(words)
    vocabulary = Vocabulary(pipeline.tokenizer, list(rows))
    encoder = pipeline.text_encoder
    ids = vocabulary.encode([spread(prompt, list(rows))]).to(encoder.device)
    vectors = {vocabulary.ids[word]: row.to(encoder.device) for word, row in rows.items()}
    with filled(encoder, vectors):
        return encoder(ids)[0]


@torch.no_grad()
def draw(
    pipeline: Any,
    prompt: str,
    *,
    seed: int,
    steps: int = 50,
    guidance: float = 6.0,
    negative: str | None = None,
    side: int | None = None,
    words: Mapping[str, Tensor] | None = None,
) -> Drawn:
    """Draw one picture.

    Args:
        pipeline: The base with its own scheduler and its own safety checker.
        prompt: With any of ``words``.
        seed: Of the noise, which is drawn on the CPU: the same on every device.
        steps: Of the scheduler.
        guidance: Scale of classifier-free guidance; 1 is none.
        negative: What to keep away from; nothing by default.
        side: Pixels along the picture; the base's own by default.
        words: Learned words, vectors ``(n, D)`` of each.

    Raises:
        SemeiaError: A word of another width than the base's text.
    """
    words = words or {}
    width = pipeline.text_encoder.get_input_embeddings().weight.shape[1]
    for word, vectors in words.items():
        if vectors.shape[1] != width:
            raise SemeiaError(f"{word} has width {vectors.shape[1]}, the base's text has width {width}")
    generator = torch.Generator("cpu").manual_seed(seed)
    states = text_states(pipeline, prompt, words)
    found = pipeline(
        prompt_embeds=states, negative_prompt=negative, num_inference_steps=steps, guidance_scale=guidance,
        generator=generator, height=side, width=side,
    )  # fmt: skip
    told = found.nsfw_content_detected
    return Drawn(np.asarray(found.images[0].convert("RGB")), prompt, seed, bool(told and told[0]))
