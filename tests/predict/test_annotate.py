"""Whole runs of re-annotation, by a finder and an annotator that need no network."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from semeia.data.formats import imagefolder_metadata, llava, trl_messages, webdataset
from semeia.data.formats.faces import write_shard
from semeia.predict.annotate import Job, Worker, annotate
from semeia.predict.annotate_outputs import Outputs
from semeia.records import Box, Face, FaceLabels, SemeiaError
from semeia.systems.face_mllm.annotate import Config, Opinion
from semeia.systems.face_mllm.schema import leaks

GOOD = "The person has {} hair and bushy eyebrows. " + "The skin is smooth and the light is soft. " * 4
SMALL = Config(fewest_pixels=20)


def finder(_):
    """A face in every picture that has light; two where the first pixel is red."""

    def find(image):
        if not image[1:].any():
            return []
        side = min(image.shape[:2]) * 0.6
        face = Face(Box(10, 10, side, side), 0.9, 1.0, np.zeros((468, 3), np.float32))
        return [face, face] if image[0, 0, 0] > 200 > image[0, 0, 1] + 150 else [face]

    return find


@dataclass(frozen=True)
class Fake:
    """Says that hair is black in dark pictures, brown in others."""

    tells: str = "all"

    def load(self):
        return self

    def as_dict(self):
        return {"kind": "fake", "tells": self.tells}

    name, version = "fake", "1"

    def look(self, views):
        if self.tells == "gone":
            raise SemeiaError("the endpoint is gone")
        told = []
        for view in views:
            colour = "black" if view.crop.mean() < 110 else "brown"
            smiling = "yes" if view.crop[..., 0].mean() > view.crop[..., 1].mean() else "no"
            labels = {"hair_colour": colour, "bushy_eyebrows": "yes", "smiling": smiling, "hat": "no", "beard": "no"}
            if self.tells == "some":
                labels["mask" if colour == "black" else "hat"] = labels.pop("hat")
            told.append(Opinion(GOOD.format(colour), labels))
        return told


def in_turn(jobs, work, workers, address):
    """Stands in for Ray: one worker, here."""
    worker = Worker(work)
    for job in jobs:
        yield worker.annotate(Job.loaded(job.dumped()))


def picture(seed, *, dark=False):
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 120 if dark else 256, (8, 8, 3), np.uint8))
    image = np.array(noise.resize((64, 64), Image.Resampling.BICUBIC))
    image[0, 0] = 0
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Twelve good pictures, one of them twice, one broken, one black, one of two faces."""
    place = tmp_path / "in"
    place.mkdir()
    for number in range(12):
        (place / f"{number:02d}.png").write_bytes(picture(number, dark=number % 2 == 0))
    (place / "12.png").write_bytes(picture(3))
    (place / "13.png").write_bytes(picture(0)[:200])
    black = Image.new("RGB", (64, 64))
    black.save(place / "14.png")
    red = Image.new("RGB", (64, 64), (0, 0, 90))
    red.putpixel((0, 0), (255, 0, 0))
    red.save(place / "15.png")
    return place


def go(inputs, out, **how):
    given = {"annotators": [Fake()], "config": SMALL, "shard": 4, "finder": finder, "spread": in_turn}
    return annotate([inputs], out, **(given | {"outputs": Outputs(audit=3)} | how))


def test_every_picture_is_accounted_for_and_every_format_holds_those_that_were_kept(folder, tmp_path):
    out = tmp_path / "out"
    report = go(folder, out)
    assert report.statuses == {"kept": 12, "near-duplicate": 1, "broken picture": 1, "no face": 1, "several faces": 1}
    assert report.pictures == 16
    assert "13.png" in report.errors[0]
    samples = [s for tar in sorted((out / "webdataset").glob("*.tar")) for s in webdataset.read(tar)]
    assert len({s.key for s in samples}) == len(samples) == 12
    assert samples[0].caption == GOOD.format("black")
    assert samples[0].notes["labels"]["hat"] == "no"
    assert samples[0].notes["provenance"]["hat"] == {"by": [0], "agreement": 1.0}
    assert samples[0].notes["annotators"] == ["fake 1"]
    assert samples[0].row["label_hair_colour"] == "black"
    assert len(list(imagefolder_metadata.read(out / "imagefolder"))) == 12
    chats = list(llava.read(out / "llava_captions.json"))
    assert len(chats) == 12
    assert all((out / "imagefolder" / chat.image).is_file() for chat in chats)
    asked = list(llava.read(out / "llava_questions.json"))
    assert any("hair colour" in q for chat in asked for q, _ in chat.turns)
    assert not any(leaks(q + a) for chat in asked for q, a in chat.turns)
    messages = list(trl_messages.read(out / "trl_captions.parquet"))
    assert [chat for chat, _ in messages] == chats
    assert all(Image.open(io.BytesIO(image)).size == (61, 61) for _, image in messages)
    assert len(list((out / "audit").glob("*.jpg"))) == 3
    assert json.loads((out / "report.json").read_text())["pictures"] == 16


def test_faces_with_labels_are_counted_item_by_item_whoever_has_which(folder, tmp_path):
    report = go(folder, tmp_path / "out", annotators=[Fake("some")])
    assert report.labels == {"hair_colour": 12, "bushy_eyebrows": 12, "smiling": 12, "beard": 12, "hat": 6, "mask": 6}


def test_a_run_that_is_killed_goes_on_without_loss_or_doubles(folder, tmp_path):
    whole = go(folder, tmp_path / "whole")

    def killed_after(count):
        def spread(jobs, work, workers, address):
            made = in_turn(jobs, work, workers, address)
            for _ in range(count):
                yield next(made)
            raise KeyboardInterrupt

        return spread

    out = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            go(folder, out, spread=killed_after(1))
    seen = []
    report = go(folder, out, on_shard=lambda done, *_: seen.append(done))
    assert seen[0] == 8
    assert report.statuses == whole.statuses
    for name in ("llava_captions.json", "llava_questions.json", "imagefolder/metadata.jsonl"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_sigkill_in_the_middle_of_a_shard_leaves_whole_shards_alone(folder, tmp_path):
    out = tmp_path / "out"
    code = f"""
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("fakes", {__file__!r})
fakes = importlib.util.module_from_spec(spec)
sys.modules["fakes"] = fakes
spec.loader.exec_module(fakes)
count = [0]
def finder(device):
    find = fakes.finder(device)
    def counted(image):
        count[0] += 1
        if count[0] == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return find(image)
    return counted
fakes.go({str(folder)!r}, {str(out)!r}, finder=finder)
"""
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [webdataset.has_shard(out / "work" / f"{n:05d}.tar") for n in range(3)] == [True, False, False]
    report = go(folder, out)
    assert report.statuses["kept"] == 12
    assert not list((out / "work").glob(".*"))


def test_a_run_that_is_done_looks_at_nothing_again(folder, tmp_path):
    go(folder, tmp_path / "out")
    assert go(folder, tmp_path / "out", spread=None).pictures == 16


def test_a_disk_that_is_full_in_the_middle_of_a_shard_stops_the_run_and_it_can_go_on(folder, tmp_path, monkeypatch):
    out, real = tmp_path / "out", webdataset._add
    left = [11]

    def full(tar, name, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tar, name, data)

    monkeypatch.setattr(webdataset, "_add", full)
    with pytest.raises(SemeiaError, match="no space left on device"):
        go(folder, out)
    assert [p.name for p in sorted((out / "work").iterdir())] == ["00000.parquet", "00000.tar"]
    monkeypatch.undo()
    assert go(folder, out).statuses["kept"] == 12


def test_other_settings_or_inputs_do_not_go_on_in_the_same_folder(folder, tmp_path):
    go(folder, tmp_path / "out")
    with pytest.raises(SemeiaError, match="other annotators"):
        go(folder, tmp_path / "out", annotators=[Fake("else")])
    (folder / "00.png").unlink()
    with pytest.raises(SemeiaError, match="other pictures, inputs"):
        go(folder, tmp_path / "out")


def test_an_annotator_that_gives_up_stops_the_run(folder, tmp_path):
    with pytest.raises(SemeiaError, match="endpoint is gone"):
        go(folder, tmp_path / "out", annotators=[Fake("gone")])


def test_two_runs_do_not_share_a_folder(folder, tmp_path):
    def meanwhile(jobs, work, workers, address):
        with pytest.raises(SemeiaError, match="another run is at work"):
            go(folder, tmp_path / "out")
        return in_turn(jobs, work, workers, address)

    assert go(folder, tmp_path / "out", spread=meanwhile).pictures == 16


def test_labels_are_compared_with_a_truth_and_items_that_agree_too_rarely_are_left_out(tmp_path):
    def samples():
        for number in range(12):
            attributes = {"Smiling": number % 2, "Bushy_Eyebrows": 1, "Wearing_Hat": 0}
            labels = FaceLabels(key=f"{number}", attributes=attributes)
            yield labels, picture(number), picture(99), {}

    write_shard(tmp_path / "world", "00000", samples())
    report = go(tmp_path / "world", tmp_path / "out", outputs=Outputs(truth=str(tmp_path / "world"), audit=0))
    agreement = {entry.item: entry for entry in report.agreement}
    assert report.pictures == 12  # masks are no pictures
    assert agreement["bushy_eyebrows"].agreement == agreement["hat"].agreement == 1
    assert agreement["smiling"].compared == 12
    assert agreement["smiling"].dropped
    (first, *_) = webdataset.read(tmp_path / "out" / "webdataset" / "00000.tar")
    assert "smiling" not in first.notes["labels"]
    assert (tmp_path / "out" / "agreement.csv").read_text().startswith("item,source,compared,agreement,dropped\n")


def test_an_audit_that_somebody_filled_in_is_a_truth_and_is_not_overwritten(folder, tmp_path):
    out = tmp_path / "out"
    go(folder, out)
    path = out / "audit.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(f"{line}{line.split(',')[2]}" for line in lines[1:])]) + "\n")
    filled = path.read_text()
    report = go(folder, out, outputs=Outputs(truth=str(path), audit=3))
    assert {entry.agreement for entry in report.agreement} == {1.0}
    assert path.read_text() == filled
    path.write_text(f"{lines[0]}\n000,wings,yes,yes\n")
    with pytest.raises(SemeiaError, match="wings"):
        go(folder, out, outputs=Outputs(truth=str(path)))


def test_tars_cut_off_and_broken_parquet_rows_are_told_and_the_rest_is_annotated(tmp_path):
    place = tmp_path / "in"
    samples = [webdataset.Sample(f"{n}", picture(n), "alt text") for n in range(4)]
    webdataset.write_shard(place / "00000.tar", samples)
    webdataset.write_shard(place / "00001.tar", [webdataset.Sample(f"{n}", picture(n + 9)) for n in range(4)])
    cut = (place / "00001.tar").read_bytes()
    (place / "00001.tar").write_bytes(cut[: int(len(cut) * 0.4)])
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": picture(20), "path": "a"}, {"bytes": b"nonsense", "path": "b"}, None]
    pq.write_table(pa.table({"image": pa.array(rows, image)}), place / "faces.parquet")
    report = go(place, tmp_path / "out")
    whole = report.statuses["kept"]
    assert report.statuses["broken picture"] == 2
    assert 4 + 1 + 1 <= whole < 4 + 4 + 1
    assert any("00001.tar" in note and "cut off" in note for note in report.notes)
    assert any("faces.parquet/row 1" in error for error in report.errors)


def test_nothing_to_annotate_is_an_error_that_says_why(tmp_path):
    with pytest.raises(SemeiaError, match="not found"):
        go(tmp_path / "none", tmp_path / "out")
    (tmp_path / "in").mkdir()
    with pytest.raises(SemeiaError, match="no picture found"):
        go(tmp_path / "in", tmp_path / "out")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "in" / "a.parquet")
    with pytest.raises(SemeiaError, match="column of pictures"):
        go(tmp_path / "in", tmp_path / "out")


def test_without_ray_there_is_a_hint(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SemeiaError, match="pip install"):
        go(folder, tmp_path / "out", spread=None)
