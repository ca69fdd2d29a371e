"""``semeia normal``."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from semeia import checkpoint
from semeia.cli.normal import run
from semeia.records import SemeiaError
from semeia.systems import smile


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A model that has learned nothing."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "mine"
    state = smile.build(smile.TINY).state_dict()
    checkpoint.save(folder, system="smile", config=smile.TINY, state=state, card="# mine")
    return str(folder)


@pytest.fixture
def scan(tmp_path):
    hu = np.random.default_rng(0).normal(0, 300, (32, 32, 5)).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, np.diag([-1.5, -1.5, 2.0, 1.0])), tmp_path / "scan.nii.gz")
    return str(tmp_path / "scan.nii.gz")


def test_a_scan_is_answered_with_files_and_what_it_cannot_tell(weights, scan, tmp_path, capsys):
    assert run([scan, "--out", str(tmp_path / "out"), "--weights", weights, "--threshold", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "5 slices of 32 x 32" in out
    assert "ml with a likelihood of 0.1 or more, read by mine" in out
    assert "twin.nii.gz" in out
    assert "Not a medical device" in out
    assert (tmp_path / "out" / "page.html").stat().st_size > 0


def test_json_is_alone_on_standard_output(weights, scan, tmp_path, capsys):
    assert run([scan, "--out", str(tmp_path / "out"), "--weights", weights, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out" / "summary.json").read_text())


def test_a_picture_is_answered_and_quiet_says_nothing(weights, tmp_path, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30), np.uint8)).save(tmp_path / "a.jpg")
    assert run([str(tmp_path / "a.jpg"), "--out", str(tmp_path / "out"), "--weights", weights, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert Image.open(tmp_path / "out" / "twin.png").size == (30, 40)


def test_a_full_folder_is_refused_before_the_work(scan, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "theirs").touch()
    with pytest.raises(SemeiaError, match="found files in it"):
        run([scan, "--out", str(tmp_path / "full"), "--weights", "nowhere"])


@pytest.mark.parametrize("flags", [[], ["--out", "x", "--threshold", "1.5"], ["--out", "x", "--threshold", "nan"]])
def test_flags_that_make_no_sense_are_refused(scan, flags):
    with pytest.raises(SystemExit):
        run([scan, *flags])
