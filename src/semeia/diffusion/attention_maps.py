"""Where a U-Net looks when it reads a word: cross-attention probabilities, by an attention processor of our own.

Shapes      B pictures   G heads   N = h x w places of a feature map   T tokens   C width of a head
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from semeia.records import SemeiaError


class CrossAttention:
    """Cross-attention as diffusers computes it, that can tell its probabilities.

    Args:
        reader: Collects the maps; None where this layer's are not wanted.
        detach_first: The first token of every prompt gives no gradient to keys and values, as in Custom Diffusion.
    """

    def __init__(self, reader: MapReader | None, *, detach_first: bool) -> None:
        self.reader, self.detach_first = reader, detach_first

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attend from places ``(B, N, G C)`` to text ``(B, T, D)``; the names are diffusers'."""
        b, n, _ = hidden_states.shape
        key, value = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        if self.detach_first:
            key = torch.cat([key[:, :1].detach(), key[:, 1:]], 1)
            value = torch.cat([value[:, :1].detach(), value[:, 1:]], 1)
        query, key, value = (
            x.view(b, -1, attn.heads, x.shape[-1] // attn.heads).transpose(1, 2)
            for x in (attn.to_q(hidden_states), key, value)
        )  # (B, G, N or T, C)
        if self.reader is not None and self.reader.listening:
            scores = query.float() @ key.float().transpose(-1, -2) * attn.scale
            probabilities = scores.softmax(-1)  # (B, G, N, T)
            self.reader.seen.append(probabilities.mean(1))
            out = probabilities.to(value.dtype) @ value
        else:
            out = F.scaled_dot_product_attention(query, key, value)
        out = out.transpose(1, 2).reshape(b, n, -1).to(query.dtype)  # (B, N, G C)
        return attn.to_out[1](attn.to_out[0](out))


class MapReader:
    """Reads the cross-attention maps of one size, averaged over heads and over the layers of both halves of a U-Net.

    Args:
        unet: Of diffusers; its cross-attention layers get processors of ours.
        latent_side: Latents along a picture.
        at_most: The largest maps up to this side are read.
        detach_first: See ``CrossAttention``.

    Attributes:
        side: Of the maps.

    Raises:
        SemeiaError: The U-Net has no cross-attention at such a side.
    """

    def __init__(self, unet: Any, *, latent_side: int, at_most: int, detach_first: bool) -> None:
        sides = layer_sides(unet, latent_side)
        fitting = [side for side in sides.values() if side <= at_most]
        if not fitting:
            found = ", ".join(map(str, sorted(set(sides.values())))) or "none"
            raise SemeiaError(
                f"attention_side {at_most}: expected at least one of the sides that this base has: {found}"
            )
        self.side = max(fitting)
        self.listening = False
        self.seen: list[Tensor] = []
        processors = dict(unet.attn_processors)
        for name in processors:
            if ".attn2." in name:
                layer = name.removesuffix(".processor")
                reader = self if sides.get(layer) == self.side else None
                processors[name] = CrossAttention(reader, detach_first=detach_first)
        unet.set_attn_processor(processors)

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Collect what the U-Net reads inside the block."""
        self.listening, self.seen = True, []
        try:
            yield
        finally:
            self.listening = False

    def maps(self) -> Tensor:
        """What the last ``listen`` saw: ``(B, h, w, T)`` float32, probabilities over T."""
        mean = torch.stack(self.seen).mean(0)  # (B, N, T)
        self.seen = []
        return mean.unflatten(1, (self.side, self.side))


def layer_sides(unet: Any, latent_side: int) -> dict[str, int]:
    """The side of the maps of each cross-attention layer, by its name; those of the middle block are left out."""
    sides = [latent_side]
    for _ in unet.down_blocks[1:]:
        sides.append((sides[-1] + 1) // 2)
    found = {}
    for half, order in (("down_blocks", sides), ("up_blocks", sides[::-1])):
        for number, side in enumerate(order):
            for name, _ in unet.get_submodule(f"{half}.{number}").named_modules():
                if name.endswith(".attn2"):
                    found[f"{half}.{number}.{name}"] = side
    return found


def word_maps(maps: Tensor, ids: Tensor, word: int) -> Tensor:
    """The map of a word.

    Args:
        maps: ``(B, h, w, T)``.
        ids: ``(B, T)`` token numbers.
        word: The number of a token that stands at most once in a prompt.

    Returns:
        ``(B, h, w)``, zero where the prompt lacks the word.
    """
    return (maps * (ids == word)[:, None, None].to(maps.dtype)).sum(-1)


def map_overlap(maps: Tensor, masks: Tensor) -> Tensor:
    """How much of a subject a word looks at: IoU of the map from half its maximum with the mask.

    Args:
        maps: ``(B, h, w)``.
        masks: ``(B, h, w)`` in [0, 1].

    Returns:
        ``(B,)`` in [0, 1].
    """
    looked = maps >= 0.5 * maps.amax((1, 2), keepdim=True)
    inside = masks >= 0.5
    both = (looked & inside).sum((1, 2)).float()
    return both / (looked | inside).sum((1, 2)).clamp(min=1)
