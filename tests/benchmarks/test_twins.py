"""What the benchmarks of twins count is what they say."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch

from semeia import checkpoint
from semeia.data.formats.deeplesion import Finding, write_masks, write_series, write_table
from semeia.data.paired_slices import HEALTHY
from semeia.data.twin_feeds import TwinFeed, slices_of
from semeia.lesion_sets import LesionData
from semeia.nn.unet import UNet
from semeia.recipes import lesion_segmentor
from semeia.recipes import smile as recipe
from semeia.systems import smile

SIDE = 32


def script():
    spec = spec_from_file_location("twins", Path(__file__).parents[2] / "benchmarks" / "twins.py")
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Four patients of the split test: a bright square on noise, and the same without."""
    root, rng, rows = tmp_path_factory.mktemp("data") / "world", np.random.default_rng(0), []
    for patient in range(1, 5):
        healthy = rng.normal(-100, 30, (1, SIDE, SIDE)).astype(np.int16)
        hu, masks = healthy.copy(), np.zeros((1, SIDE, SIDE), np.uint8)
        hu[:, 10:18, 10:18], masks[:, 10:18, 10:18] = 400, 1
        write_series(root, patient, 1, 1, hu, first=1)
        write_masks(root, patient, 1, 1, masks, first=1)
        write_series(root, patient, 1, 1, healthy, first=1, images=HEALTHY)
        recist = np.array([[10, 14.0], [18, 14], [14, 10], [14, 18]])
        rows.append(Finding(
            patient=patient, study=1, series=1, key_slice=1, recist=recist, box=np.array([5.0, 5, 23, 23]),
            diameters=(8.0, 8.0), location=(0.5, 0.5, 0.5), kind=-1, noisy=False, slice_range=(1, 1),
            spacing=(1.0, 1.0, 2.0), size=(SIDE, SIDE), window=(-175, 275), gender=None, age=50.0, split="test",
        ))  # fmt: skip
    write_table(root, rows)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A maker that has learned nothing, whose twins and answers are their inputs, and a judge likewise."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    checkpoint.save(
        folder / "smile", system="smile", config=smile.TINY, state=smile.build(smile.TINY).state_dict(), card="# none"
    )
    judge = lesion_segmentor.LesionSegmentor(
        lesion_segmentor.Network(size=SIDE, soft=None, spacing=None, widths=(4, 8))
    )
    checkpoint.save(
        folder / "judge", system="lesion_segmentor", config=judge.config, state=judge.state_dict(), card="# none"
    )
    return folder


def test_the_table_has_checkpoints_and_points(world, weights, capsys):
    script().quality([str(weights / "smile")], [str(world)], str(weights / "judge"), None)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert [row[0] for row in rows[1:]] == ["copy of the input", "blurred input", "true twin"]
    told = [dict(zip(heads, row, strict=True)) for row in rows]
    assert all(told[at]["left inside the lesion"].startswith("1.000") for at in (0, 1))
    assert told[3]["left inside the lesion"].startswith("0.000")
    assert told[1]["identity, MS-SSIM to the input"].startswith("1.000")
    assert float(told[2]["L1 to the input, normal slices"]) > 0 == float(told[1]["L1 to the input, normal slices"])


def test_a_reconstructor_that_copies_passes_the_noise_on_and_hides_nothing(world):
    model = smile.build(smile.TINY).eval()
    places = slices_of(recipe.open_slices(LesionData(deeplesion=(str(world),))), "test")
    feed = TwinFeed(places, 1, size=SIDE, window=smile.TINY.window)
    noise, change, ratio, before, after = script().hidden(model, feed, noise=0.01)
    assert noise == pytest.approx(0.02, rel=0.05)
    assert ratio == pytest.approx(change / noise)
    assert ratio == pytest.approx(1, abs=0.1)
    assert before == pytest.approx(0, abs=1e-3)
    assert after == pytest.approx(0.02 * np.sqrt(2 / np.pi), rel=0.2)


def test_a_body_is_the_largest_thing_with_its_air_and_a_table_is_none():
    hu = np.full((64, 64), -1000.0)
    hu[10:50, 10:50] = 40
    hu[20:30, 20:30] = -900  # a lung
    hu[58:60] = 100  # a table
    body = script().inside_body(hu)
    assert body.sum() == 40 * 40
    assert script().inside_body(np.full((16, 16), -1000.0)).all()


def test_differences_inside_and_elsewhere_by_hand():
    image, mask = np.full((32, 32), 40.0), np.zeros((32, 32), bool)
    mask[10:12, 10:12] = True
    twin = image - 100 * mask
    twin[0, 0] += 102
    line = script().told("7", image, twin, mask * 0.5, mask)
    assert line == "| 7 | 4 | 100.0 | -100.0 | 0.10 | 1000.0 | 0.500 | 0.500 | 0.000 |"
    assert script().drawn(image, twin, mask, (-1000.0, 500.0)).shape == (32, 96, 3)


def test_features_are_means_of_the_deepest_maps():
    judge = lesion_segmentor.LesionSegmentor(
        lesion_segmentor.Network(size=SIDE, soft=None, spacing=None, widths=(4, 8))
    )
    assert isinstance(judge.network, UNet)
    found = script().features(judge, np.zeros((10, SIDE, SIDE)))
    assert found.shape == (10, 8)
    assert not judge.network.down[-1]._forward_hooks
