"""Bright squares on noise: on the key slice alone they are lesions, on all slices they are vessels."""

import pytest
import torch


@pytest.fixture
def squares():
    """``squares(count, slices, size)``: a batch of the detector."""

    def make(count=8, slices=3, size=(64, 64), seed=0, masks=False):
        made = torch.Generator().manual_seed(seed)
        image = 0.3 + 0.05 * torch.randn(count, slices, *size, generator=made)
        boxes, outlines = [], []
        for i in range(count):
            side = int(torch.randint(8, 17, (1,), generator=made))
            x, y = (int(torch.randint(2, s - side - 1, (1,), generator=made)) for s in reversed(size))
            image[i, slices // 2, y : y + side, x : x + side] += 0.5
            boxes.append(torch.tensor([[x, y, x + side, y + side]], dtype=torch.float32))
            outline = torch.zeros(1, *size, dtype=torch.bool)
            outline[0, y : y + side, x : x + side] = True
            outlines.append(outline)
        batch = {"image": image.clamp(0, 1), "boxes": boxes, "index": torch.arange(count)}
        return batch | ({"masks": outlines} if masks else {})

    return make
