"""What the benchmarks of the add-ons count is what they say."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from semeia.ops.bounding_maps import bounding_maps, cell_centres
from semeia.systems import mo_scl


def script(name):
    spec = spec_from_file_location(name, Path(__file__).parents[2] / "benchmarks" / f"{name}.py")
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("stride", [1, 4])
def test_the_plain_loop_draws_the_same_maps(stride):
    boxes = torch.tensor([[3.2, 5.5, 20.1, 17.0], [10.0, 9.0, 30.5, 31.9], [0.0, 0.0, 1.0, 1.5]], dtype=torch.float64)
    x, y = (each.double() for each in cell_centres(32 // stride, 32 // stride, stride=stride))
    ours = bounding_maps(x, y, boxes).numpy()
    np.testing.assert_allclose(script("addons_latency").loop(boxes.numpy(), 32, stride), ours, atol=1e-12)


class Feed:
    """Samples of noise with one box each."""

    def sample(self, number, rng):
        image = np.random.default_rng(number).random((3, 64, 64), np.float32)
        return SimpleNamespace(image=image, boxes=np.array([[10.0, 10, 30, 30]]))


def test_the_gradient_of_the_hard_is_all_of_a_batch_without_easy_ones_and_none_of_one_without_hard_ones():
    of = script("lesion_diagnostics").gradient_of_the_hard
    model = mo_scl.build(mo_scl.TINY)
    assert of(model, Feed(), [0, 1], np.array([True, True])) == pytest.approx((1.0, 1.0))
    assert of(model, Feed(), [0, 1], np.array([False, False])) == (0.0, 0.0)
    share, part = of(model, Feed(), [0, 0], np.array([True, False]))
    assert (share, part) == pytest.approx((0.5, 0.5))


def test_places_of_slices_with_wrong_boxes_by_hand(tmp_path, capsys):
    series = [SimpleNamespace(name=f"s{i}") for i in range(5)]
    slabs = [{"series": each.name, "label_noise": [{}] * (i == 4)} for i, each in enumerate(series)]
    (tmp_path / "world.json").write_text(str({"slabs": slabs}).replace("'", '"'))
    sets = [SimpleNamespace(keys=[SimpleNamespace(series=each) for each in series])]
    script("lesion_diagnostics").landing(
        tmp_path, sets, np.arange(5), {"loss": np.arange(5.0), "other": -np.arange(5.0)}
    )
    said = capsys.readouterr().out
    assert "1 of 5 slices" in said
    assert "| loss | 1.000 | 1.000 | 0.000 |" in said
    assert "| other | 0.000 | 0.000 | 0.000 |" in said
