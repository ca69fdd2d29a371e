"""What the script about re-annotation looks for: pictures that are missing or double, and labels that are right."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from semeia.data.formats.faces import FaceFolder
from semeia.predict.annotate import Job, Worker, annotate
from semeia.predict.annotate_outputs import Outputs
from semeia.records import Box, Face
from semeia.systems.face_mllm.annotate import Config, Opinion

SAID = "The person has black hair and bushy eyebrows. " + "The skin is smooth and the light is soft. " * 4


@pytest.fixture(scope="module")
def script():
    """The script, which is part of no package."""
    path = Path(__file__).parents[2] / "benchmarks" / "annotate.py"
    spec = spec_from_file_location("annotate_script", path)
    module = module_from_spec(spec)
    sys.modules["annotate_script"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["annotate_script"]


class Fake:
    """Says the same of every face."""

    name, version = "fake", "1"

    def load(self):
        return self

    def as_dict(self):
        return {"kind": "fake"}

    def look(self, views):
        labels = {"hair_colour": "black", "bushy_eyebrows": "yes", "smiling": "no", "hat": "no", "beard": "no"}
        return [Opinion(SAID, labels) for _ in views]


@pytest.fixture
def done(faces, tmp_path):
    """A finished run on all faces of a folder."""

    def spread(jobs, work, workers, address):
        worker = Worker(work)
        for job in jobs:
            yield worker.annotate(Job.loaded(job.dumped()))

    face = Face(Box(8, 8, 40, 40), 0.9, 1.0, np.zeros((468, 3), np.float32))
    annotate(
        [faces], tmp_path / "out", annotators=[Fake()], config=Config(fewest_pixels=20), shard=7, spread=spread,
        finder=lambda _: lambda image: [face], outputs=Outputs(audit=2),
    )  # fmt: skip
    return tmp_path / "out"


def test_a_whole_run_has_no_faults(script, done, faces):
    assert script.finished(done) == 6
    assert script.faults(done, FaceFolder(faces)) == []
    assert script.digests(done).keys() >= {"report.json", "plan.json", "work/00005.tar", "llava_captions.json"}


def test_what_is_missing_or_double_is_told(script, done, faces):
    for kind in ("parquet", "tar"):
        (done / f"work/00006.{kind}").write_bytes((done / f"work/00000.{kind}").read_bytes())
    (done / "work/.00007.tar.part").touch()
    lines = (done / "imagefolder/metadata.jsonl").read_text().splitlines()
    (done / "imagefolder/metadata.jsonl").write_text("\n".join([*lines[1:], lines[-1]]) + "\n")
    told = "\n".join(script.faults(done, FaceFolder(faces)))
    for words in ("0000: 2 rows, expected 1", "part: left over", "report.json", "imagefolder: 1 faces twice",
                  "imagefolder: 39 faces"):  # fmt: skip
        assert words in told


def test_agreement_counts_what_was_told_and_what_the_commonest_answer_would_get(script):
    truth = {"a": {"hat": "yes"}, "b": {"hat": "no"}, "c": {"hat": "no"}, "d": {"hat": "no", "beard": "no"}}
    labels = {"a": {"hat": "yes"}, "b": {"hat": "yes"}, "c": {}, "d": {"hat": "no"}}
    assert script.agreement_rows(labels, truth) == [script.Row("hat", known=4, told=3, right=2, commonest=2)]


def test_faces_are_chosen_once_and_evenly(script, faces, tmp_path):
    assert script.choose(str(faces), tmp_path / "some", 4, "test") == 4
    assert script.choose(str(faces), tmp_path / "some", 4, "test") == 4
    keys = FaceFolder(tmp_path / "some").columns.texts["key"]
    assert list(keys) == ["0032", "0034", "0037", "0039"]
    with pytest.raises(script.SemeiaError, match="expected 9 faces"):
        script.choose(str(faces), tmp_path / "more", 9, "test")


def test_the_report_is_compared_without_its_own_folder(script, done, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    report = json.loads((done / "report.json").read_text())
    (other / "report.json").write_text(json.dumps(report | {"written": ["elsewhere"]}))
    assert script.digests(other)["report.json"] == script.digests(done)["report.json"]
