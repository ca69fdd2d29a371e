"""Lesions of one patient on healthy slices of another, in DeepLesion's layout."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from semeia.cli import make
from semeia.data.formats import deeplesion
from semeia.data.formats.deeplesion import Finding, write_series, write_table
from semeia.lesion_sets import LesionData, open_lesions, split_of
from semeia.predict import transplants as module
from semeia.predict.normal import TwinMaker
from semeia.predict.transplants import Moved, Reconstructor, fits, masks_in, pairs_of, pasted, soft, transplant
from semeia.records import SemeiaError
from semeia.systems import smile

SIDE, DEEP = 64, 5
TISSUE, LESION = 50, 400


def finding(patient, split, middle, reach):
    recist = np.array([[-1.0, 0], [1, 0], [0, -1], [0, 1]]) * reach + middle
    return Finding(
        patient=patient, study=1, series=1, key_slice=3, recist=recist,
        box=np.concatenate([recist.min(0) - 5, recist.max(0) + 5]), diameters=(2.0 * reach, 2.0 * reach),
        location=(0.5, 0.5, 0.5), kind=3, noisy=False, slice_range=(1, DEEP), spacing=(1.0, 1.0, 2.0),
        size=(SIDE, SIDE), window=(-175, 275), gender="F", age=50.0, split=split,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight patients: a round body with a bright disc, and the same without it."""
    root = tmp_path_factory.mktemp("world")
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    rows = []
    for patient in range(1, 9):
        middle, reach = np.array([24.0 + patient, 30.0]), 4 + patient % 3
        hu = np.full((DEEP, SIDE, SIDE), -1000, np.int16)
        hu[:, (x - 32) ** 2 + (y - 32) ** 2 < 28**2] = TISSUE
        write_series(root, patient, 1, 1, hu, first=1, images="Healthy_png")
        hu = hu.copy()
        hu[1:4, (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < reach**2] = LESION
        write_series(root, patient, 1, 1, hu, first=1)
        rows.append(finding(patient, "test" if patient == 8 else "train", middle, reach))
    write_table(root, rows)
    return root


@pytest.fixture
def data(folder):
    return LesionData(deeplesion=(str(folder),))


class Bright(nn.Module):
    """Stands in for SMILE: paints white where the mask says, and a little everywhere."""

    def __init__(self, *, nets=("reconstructor",), **config):
        super().__init__()
        self.config, self.nets, self.shapes = replace(smile.TINY, **config), nets, []

    def restore(self, twin, mask):
        self.shapes.append(twin.shape)
        return twin + 0.01 + mask * (1 - twin)


def reconstructor(**how):
    return Reconstructor(TwinMaker(Bright(**how), weights="bright", device=torch.device("cpu")))


def read(out):
    return deeplesion.read(out)


def test_what_is_written_reads_as_deeplesion(data, tmp_path):
    seen = []
    assert transplant(data, tmp_path / "made", count=5, way="paste", on_slab=seen.append) == 5
    made = read(tmp_path / "made")
    assert len(made) == 5
    assert {key.split for key in made.keys} == {"train"}
    assert not made.warnings
    assert seen == [1, 2, 3, 4, 5]
    for key in made.keys:
        hu = key.series.read(key.slice)
        x0, y0, x1, y1 = key.boxes[0].round().astype(int)
        assert (hu > 300).any()
        inside = np.zeros_like(hu, bool)
        inside[y0:y1, x0:x1] = True
        assert not (hu[~inside] > 60).any()
        assert key.series.numbers.tolist() == [1, 2, 3, 4, 5]


def test_the_same_seed_makes_the_same_and_another_one_others(data, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        transplant(data, tmp_path / name, count=3, way="paste", seed=seed)
    a, b, c = ((tmp_path / name / "DL_info.csv").read_bytes() for name in "abc")
    assert a == b != c


def test_every_series_says_what_it_is_of(data, tmp_path):
    transplant(data, tmp_path / "made", count=6, way="paste")
    told = json.loads((tmp_path / "made" / module.SOURCES).read_text())
    assert [each["series"] for each in told["series"]] == [key.series.name for key in read(tmp_path / "made").keys]
    for each in told["series"]:
        assert each["way"] == "paste"
        assert each["host"][:6] != each["lesion_of"][:6]
        assert "000008" not in (each["host"][:6], each["lesion_of"][:6]), "patients of the test are left alone"


def test_with_a_share_healthy_slices_are_of_all_others(data):
    donors, hosts = pairs_of(replace(data, share=0.3))
    few = {donor.key.patient for donor in donors}
    assert len(few) == 3
    assert len(hosts) == 4
    assert not few & {host.key.patient for host in hosts}
    donors, hosts = pairs_of(data)
    assert len(donors) == len(hosts) == 7


def test_made_slices_are_read_whole_beside_a_share(data, tmp_path):
    transplant(data, tmp_path / "made", count=4, way="paste")
    both = replace(data, share=0.3, made=str(tmp_path / "made"))
    assert [len(each) for each in split_of(open_lesions(both), "train")] == [3, 4]
    assert [len(each) for each in split_of(open_lesions(both), "test")] == [1]


def test_a_lesion_keeps_its_millimetres(data):
    donors, hosts = pairs_of(data)
    host = hosts[0]._replace(key=replace(hosts[0].key, spacing=(0.5, 0.5)))
    moved = module.moved_into(donors[0], host, host.series.read(3))
    own = masks_in(moved, host, (DEEP, SIDE, SIDE))[2].sum()
    assert own == pytest.approx(4 * np.pi * 5**2, rel=0.1)


def test_a_lesion_is_round_through_the_slices(data):
    donors, hosts = pairs_of(data)
    moved = Moved(donors[0], np.eye(3)[:2])
    masks = masks_in(moved, hosts[0], (DEEP, SIDE, SIDE))
    areas = masks.sum((1, 2))
    radius, away = 5.0, 2.0 * np.abs(np.arange(DEEP) - 2)
    assert areas == pytest.approx(np.pi * (radius**2 - away**2).clip(0), abs=12)
    middles = [np.argwhere(mask).mean(0) for mask in masks if mask.any()]
    assert np.ptp(middles, 0).max() < 0.3


@pytest.mark.parametrize(("at", "expected"), [((32, 32), True), ((5, 5), False)])
def test_a_lesion_must_lie_in_the_body_and_may_in_its_air(at, expected):
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    hu = np.where((x - 32) ** 2 + (y - 32) ** 2 < 28**2, TISSUE, -1000)
    hu[20:44, 20:44] = -900  # a lung
    mask = np.zeros((SIDE, SIDE), bool)
    mask[at[1] - 3 : at[1] + 3, at[0] - 3 : at[0] + 3] = True
    assert fits(mask, hu) is expected
    assert not fits(np.zeros_like(mask), hu)


@pytest.mark.parametrize("spacing", [None, 1.0, 1.5])
def test_nothing_changes_beyond_the_edge_of_a_painted_lesion(data, spacing):
    donors, hosts = pairs_of(data)
    slab = np.stack([hosts[0].series.read(n) for n in range(1, DEEP + 1)]).astype(np.float32)
    slab[:, 30, 30] = 3000  # metal, beyond the window
    moved = Moved(donors[0], np.eye(3)[:2])
    masks = masks_in(moved, hosts[0], slab.shape)
    painter = reconstructor(size=32, spacing=spacing)
    made = painter(slab, masks, (1.0, 1.0), moved)
    assert np.array_equal(made[soft(masks) == 0], slab[soft(masks) == 0])
    assert (made[:, 30, 30] == 3000).all()
    assert (made[masks & (soft(masks) > 0.95) & (slab < 3000)] > 400).all()
    assert painter.model.shapes == [(DEEP, 1, 32, 32)]


def test_pasted_values_are_the_lesions_own(data):
    donors, hosts = pairs_of(data)
    slab = np.full((DEEP, SIDE, SIDE), TISSUE, np.float32)
    moved = Moved(donors[0], np.eye(3)[:2])
    masks = masks_in(moved, hosts[0], slab.shape)
    made = pasted(slab, masks, (1.0, 1.0), moved)
    assert made[masks & (soft(masks) > 0.99)] == pytest.approx(LESION, abs=5)


def test_bad_input_is_refused_and_nothing_is_left(data, folder, tmp_path, monkeypatch):
    with pytest.raises(SemeiaError, match="count: expected at least 1"):
        transplant(data, tmp_path / "made", count=0, way="paste")
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("Images_png", "DL_info.csv"):
        (bare / name).symlink_to(folder / name)
    with pytest.raises(SemeiaError, match="healthy slices of training patients"):
        transplant(LesionData(deeplesion=(str(bare),)), tmp_path / "made", count=1, way="paste")
    monkeypatch.setattr(module, "fits", lambda mask, hu: False)
    with pytest.raises(SemeiaError, match="in which they fit, found none"):
        transplant(data, tmp_path / "made", count=1, way="paste")
    assert not list(tmp_path.glob(".made*"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("how", [{"nets": ()}, {"window": None}])
def test_weights_without_a_reconstructor_are_refused(how):
    with pytest.raises(SemeiaError, match="bright: expected weights for CT with a lesion reconstructor"):
        reconstructor(**how)


def test_the_command(folder, tmp_path, capsys):
    out = str(tmp_path / "made")
    made = ["transplants", out, "--data", str(folder), "--count", "2", "--by", "paste", "--share", "0.5"]
    assert make.run(made) == 0
    assert "2 slabs, a lesion each" in capsys.readouterr().out
    assert len(read(out)) == 2


@pytest.mark.parametrize(
    "flags", [["transplants", "out", "--count", "2"], ["slabs", "out", "--count", "2", "--data", "x"]]
)
def test_data_goes_with_transplants(flags, capsys):
    with pytest.raises(SystemExit):
        make.run(flags)
    assert "--data FOLDER" in capsys.readouterr().err
