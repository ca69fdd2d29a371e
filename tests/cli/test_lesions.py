"""``semeia lesions``."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from semeia import checkpoint
from semeia.cli.main import main
from semeia.systems import uld


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A detector that has learned nothing, so that it finds something."""
    torch.manual_seed(0)
    config = replace(uld.TINY, padding=0.0)
    folder = tmp_path_factory.mktemp("weights") / "mine"
    checkpoint.save(folder, system="uld", config=config, state=uld.build(config).state_dict(), card="# mine")
    return str(folder)


@pytest.fixture
def scan(tmp_path):
    hu = np.random.default_rng(0).normal(0, 300, (64, 64, 5)).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, np.diag([-1.5, -1.5, 2.0, 1.0])), tmp_path / "scan.nii.gz")
    return str(tmp_path / "scan.nii.gz")


def test_a_scan_is_answered_with_a_table_and_what_it_cannot_tell(weights, scan, capsys):
    assert main(["lesions", scan, "--weights", weights, "--threshold", "0"]) == 0
    out = capsys.readouterr().out
    assert "5 slices of 64 x 64, 1.50 x 1.50 x 2.00 mm" in out
    assert "candidate lesion" in out
    assert "read by mine" in out
    assert "Not a medical device" in out


def test_json_is_the_documented_one_and_alone_on_standard_output(weights, scan, capsys):
    assert main(["lesions", scan, "--weights", weights, "--threshold", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == {"version", "weights", "scan", "notes", "slices", "lesions"}
    assert told["slices"][0].keys() == {"index", "boxes"}
    assert told["lesions"][0].keys() == {"score", "slices", "box_world_mm", "long_mm", "short_mm"}


def test_every_file_that_is_asked_for_is_written(weights, scan, tmp_path):
    names = {
        "out": "found.csv", "coco": "coco.json", "labels": "labels.nii.gz", "preview": "best.png", "html": "page.html",
    }  # fmt: skip
    flags = [word for flag, name in names.items() for word in (f"--{flag}", str(tmp_path / name))]
    assert main(["lesions", scan, "--weights", weights, "--threshold", "0", "--quiet", *flags]) == 0
    assert all((tmp_path / name).stat().st_size > 0 for name in names.values())
    assert nib.load(tmp_path / "labels.nii.gz").shape == (64, 64, 5)


def test_slices_are_counted_as_the_file_does(weights, scan, capsys):
    assert main(["lesions", scan, "--weights", weights, "--threshold", "0", "--slices", "1-2", "--json"]) == 0
    assert {entry["index"] for entry in json.loads(capsys.readouterr().out)["slices"]} <= {1, 2}
    assert main(["lesions", scan, "--weights", weights, "--slices", "9-12"]) == 2
    assert "expected FIRST-LAST within 0 to 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    "refused",
    [
        (["--seg", "seg.dcm"], "expected DICOM images"),
        (["--out", "found.xlsx"], "found.xlsx"),
        (["--preview", "best.gif"], "best.gif"),
        (["--weights", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_search(weights, scan, capsys, monkeypatch, refused):
    flags, words = refused
    monkeypatch.chdir(Path(scan).parent)
    assert main(["lesions", scan, "--weights", weights, *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_file_that_is_no_scan_is_named(weights, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("no scan")
    assert main(["lesions", str(tmp_path / "words.txt"), "--weights", weights]) == 2
    assert "expected a CT scan" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--threshold", "1.5"], ["--out", "a.json", "--coco", "a.json"]])
def test_flags_that_make_no_sense_are_refused(scan, flags):
    with pytest.raises(SystemExit):
        main(["lesions", scan, *flags])
