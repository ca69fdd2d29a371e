"""The plain detector: it learns eight samples, survives saving, and its numbers say where they come from."""

import ast
import inspect
import re
from dataclasses import asdict, replace
from itertools import pairwise

import pytest
import torch

from semeia import checkpoint
from semeia.detection import design
from semeia.metrics.froc import RATES
from semeia.systems import uld


def squares(count=8, slices=3, size=64, seed=0):
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
    return uld.build(replace(uld.TINY, **changes))


def test_the_task_returns_means_over_images():
    model, batch = built().train(), squares(4)
    torch.manual_seed(3)
    each = model.detector.losses(batch)
    torch.manual_seed(3)
    said = model(batch)
    assert set(said) == set(each)
    assert all(value.shape == () and torch.equal(value, each[name].mean()) for name, value in said.items())


def test_it_overfits_eight_samples_and_leaves_what_runs_through_all_slices():
    model, batch = built().train(), squares()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        model(batch)["loss"].backward()
        optimizer.step()
    model.eval()
    for (boxes, scores), lesion in zip(model.predict(batch["image"]), batch["boxes"], strict=True):
        assert torch.allclose(boxes[0], lesion[0], atol=2)
        assert scores[0] > 0.9
        assert (scores[1:] < 0.5).all()


def test_a_saved_detector_answers_alike(tmp_path):
    model, image = built().eval(), squares(2)["image"]
    checkpoint.save(tmp_path, system="uld", config=model.config, state=model.state_dict(), card="", half=False)
    again, _ = checkpoint.load(tmp_path, system="uld", kind=uld.Config, build=uld.build)
    assert asdict(again.config) == asdict(model.config)
    for (boxes, scores), (others, values) in zip(model.predict(image), again.predict(image), strict=True):
        assert torch.equal(boxes, others)
        assert torch.equal(scores, values)


def test_scores_of_so_many_false_detections_are_kept_with_the_weights():
    assert built().state_dict()["score_at"].shape == (len(RATES),)


def test_a_scan_is_read_slice_by_slice():
    model, image = built().eval(), squares(1, 6)["image"][0]
    assert len(list(model.predict_scan(iter(image), together=4))) == 6


def test_the_published_detector_takes_a_small_image():
    torch.manual_seed(0)
    model = uld.build(replace(uld.Config(), slices=3, region_hidden=32, mask_channels=8)).train()
    batch = squares(1, size=48)
    batch["masks"] = [torch.ones(1, 48, 48).bool()]
    said = model(batch)
    assert said["loss"].isfinite()
    said["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.eval().detector.features(batch["image"]).shape == (1, 512, 16, 16)


def test_published_numbers_are_the_defaults():
    config = uld.Config()
    assert (config.trunk, config.pyramid, config.region_hidden, config.most) == ("densenet121", 512, 2048, 50)
    assert len(config.anchor_scales) * len(config.anchor_ratios) == 18


def test_every_number_names_its_source():
    (body,) = (n.body for n in ast.parse(inspect.getsource(design)).body if getattr(n, "name", "") == "Design")
    fields = [(a, b) for a, b in pairwise(body) if isinstance(a, ast.AnnAssign)]
    assert len(fields) == len(uld.Config.__dataclass_fields__)
    for field, after in fields:
        assert re.search(r"\[[^\]]+\]$", after.value.value.strip()), ast.unparse(field.target)


@pytest.mark.parametrize("slices", [1, 5])
def test_small_and_tiny_build_with_any_number_of_slices(slices):
    for config in (uld.SMALL, uld.TINY):
        assert uld.build(replace(config, slices=slices)).detector.slices == slices
