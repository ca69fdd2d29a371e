"""SATr's block and detector at small sizes, and what they read.

Shapes      B batch   C channels at each stride   S slices   H, W pixels
"""

from dataclasses import replace

import torch
from torch import nn

from semeia.systems import satr

CHANNELS = (8, 16, 32)


def collector(channels=CHANNELS, **changes):
    """With norms and class token off their starting values, so that none of them hides a mistake."""
    torch.manual_seed(0)
    config = replace(satr.TINY, **changes)
    made = satr.SliceAttentionCollector(config, channels, config.slices)
    for module in made.modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, satr.SliceTokens):
            nn.init.uniform_(module.scale, 0.5, 1.5)
            nn.init.normal_(module.shift, std=0.3)
    return made.eval()


def maps(batch=2, slices=3, height=64, width=96, *, channels=CHANNELS):
    """Maps of slices of ``height`` x ``width`` pixels at strides 4, 8, 16."""
    made = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch, c, slices, height // s, width // s, generator=made)
        for c, s in zip(channels, (4, 8, 16), strict=True)
    ]


def squares(count=4, slices=3, size=64, seed=0):
    """Bright squares on the key slice: lesions. Bright squares on all slices: vessels, without a box."""
    made = torch.Generator().manual_seed(seed)
    image = 0.3 + 0.05 * torch.randn(count, slices, size, size, generator=made)
    boxes = []
    for i in range(count):
        side = int(torch.randint(8, 17, (1,), generator=made))
        x, y = (int(torch.randint(2, size // 2 - side // 2, (1,), generator=made)) for _ in range(2))
        image[i, slices // 2, y : y + side, x : x + side] += 0.5
        image[i, :, size - 20 : size - 10, size - 20 : size - 10] += 0.5
        boxes.append(torch.tensor([[x, y, x + side, y + side]], dtype=torch.float32))
    return {"image": image.clamp(0, 1), "boxes": boxes, "index": torch.arange(count)}


def built(**changes):
    torch.manual_seed(0)
    return satr.build(replace(satr.TINY, **changes))
