"""From a folder of faces to a checkpoint with its card."""

import json
from dataclasses import replace

import numpy as np
import pytest

from semeia import checkpoint
from semeia.data.feeds import FaceSet, mixture
from semeia.data.formats.faces import FaceFolder, write_manifest, write_shard
from semeia.face_sets import FaceData
from semeia.recipes import qface as recipe
from semeia.records import FaceLabels, SemeiaError
from semeia.systems import qface

WORLD = {
    "count": 40, "seed": 7, "size": 64, "samples": 4, "shots": 2, "split": None, "version": 1, "variant": "scalar_rgb"
}  # fmt: skip


def smoke(faces, out, **changes):
    config = recipe.smoke()
    return replace(config, data=FaceData(faces=(str(faces),)), fit=replace(config.fit, out=str(out)), **changes)


@pytest.fixture(scope="module")
def trained(faces, tmp_path_factory):
    return recipe.train(smoke(faces, tmp_path_factory.mktemp("run")), progress=False)


def test_the_smoke_recipe_ends_with_a_checkpoint_that_loads(trained):
    model, name = checkpoint.load(trained, system="qface", kind=qface.Config, build=qface.build)
    assert name == "checkpoint"
    assert model.config == recipe.smoke().model


def test_the_card_says_what_was_measured_and_what_it_cannot_tell(trained):
    card = (trained / "card.md").read_text()
    assert "| expression | all | accuracy |" in card
    assert "24 images of" in card
    assert "Not a medical device" in card


def test_only_a_card_of_rendered_faces_says_so(trained, faces):
    assert "Rendered faces only" not in (trained / "card.md").read_text()
    write_manifest(faces, {"world": "faces", "settings": WORLD})
    try:
        config = smoke(faces, "nowhere")
        used = [FaceFolder(faces)]
        text = recipe.card(config, mixture("qface", used, None), used, {recipe.USUAL: []})
    finally:
        (faces / "manifest.json").unlink()
    assert "Rendered faces only" in text
    assert "not accuracy on people" in text
    assert "--count 40 --seed 7 --size 64 --shots 2 --samples 4    # world version 1" in text


def test_evaluation_gives_intervals_over_identities(trained, faces):
    scores = recipe.evaluate(trained, FaceData(faces=(str(faces),)))
    by_name = {(s.task, s.label, s.metric): s for s in scores}
    yaw = by_name["pose", "yaw", "mean absolute error, degrees"]
    assert yaw.low <= yaw.value <= yaw.high
    assert yaw.count == 8
    assert by_name["action unit present", "AU12", "F1"].positives is not None
    assert by_name["age", "all", "mean absolute error, years"].positives is None


def test_a_split_without_images_is_refused(trained, faces):
    with pytest.raises(SemeiaError, match="nowhere"):
        recipe.evaluate(trained, FaceData(faces=(str(faces),)), split="nowhere")


def test_the_card_has_a_table_for_each_look(faces, tmp_path):
    out = recipe.train(smoke(faces, tmp_path, other_data=(str(faces),)), progress=False)
    text = (out / "card.md").read_text()
    assert text.index(recipe.USUAL) < text.index(recipe.OTHER)
    assert text.count("| action unit present | mean of BP4D's 12 | F1 |") == 2
    assert "calibrated on the split `val`" in text
    assert set(json.loads((tmp_path / "scores.json").read_text())) == {recipe.USUAL, recipe.OTHER}


def test_a_usual_world_does_not_pass_for_an_other_looking_one(faces):
    write_manifest(faces, {"world": "faces", "settings": WORLD})
    try:
        with pytest.raises(SemeiaError, match="--look other"):
            recipe.open_other([str(faces)])
        write_manifest(faces, {"world": "faces", "settings": WORLD | {"look": "other"}})
        (folder,) = recipe.open_other([str(faces)])
        assert "--look other" in recipe.made_by(folder)
    finally:
        (faces / "manifest.json").unlink()


def test_the_checkpoint_carries_its_calibration(trained):
    model, _ = checkpoint.load(trained, system="qface", kind=qface.Config, build=qface.build)
    assert model.calibration.temperature != 1
    assert (model.calibration.present.shift != 0).any()
    assert ((model.calibration.unit_threshold >= 0.199) & (model.calibration.unit_threshold <= 0.801)).all()


def test_a_prior_starts_the_backbone_and_is_named(faces, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(recipe, "load_prior", lambda backbone, prior, **how: started.append((prior, how["mean"])))
    out = recipe.train(smoke(faces, tmp_path, prior="somewhere/mae"), progress=False)
    assert started == [("somewhere/mae", qface.Config().mean)]
    assert "--prior runs/face_mae/checkpoint" in (out / "card.md").read_text()


def test_no_data_is_refused():
    with pytest.raises(SemeiaError, match="--data"):
        recipe.train(recipe.smoke())


def test_every_folder_needs_its_share(faces, tmp_path):
    with pytest.raises(SemeiaError, match="share"):
        recipe.train(smoke(faces, tmp_path, shares=(1.0, 2.0)))


def test_rare_units_weigh_more(faces):
    folder = FaceFolder(faces)
    weights = recipe.rarity([FaceSet(folder, balance="none")], qface.Config())
    rows = folder.select("train")
    share = np.array([[folder.labels(i).au_occurrence[u] for u in qface.Config().action_units] for i in rows]).mean(0)
    np.testing.assert_allclose(weights, np.sqrt((1 - share) / share).clip(0.5, 4), rtol=1e-5)
    alike = recipe.rarity([FaceSet(folder, balance="none")], qface.Config(), power=0)
    np.testing.assert_allclose(alike, 1)


def test_a_set_without_unit_labels_does_not_make_units_rarer(faces, tmp_path):
    labelled = FaceSet(FaceFolder(faces), balance="none")
    whole = recipe.rarity([labelled], qface.Config())
    source = FaceFolder(faces)
    bare = ((FaceLabels(key=f"{i}", split="train", age=30.0), source.image_bytes(i), None, {}) for i in range(9))
    write_shard(tmp_path, "00000", bare)
    unlabelled = FaceSet(FaceFolder(tmp_path), balance="none")
    np.testing.assert_allclose(recipe.rarity([labelled, unlabelled], qface.Config()), whole, rtol=1e-5)
    np.testing.assert_allclose(recipe.rarity([unlabelled], qface.Config()), 1.0)


def test_every_scale_builds():
    for name, scale in recipe.SCALES.items():
        config = scale()
        if not config.model.pretrained:
            qface.build(config.model)
        assert config.fit.steps >= 1, name


def test_labels_that_are_hardly_read_are_named():
    score = recipe.Score("action unit present", "AU23", "F1", 0.31, 0.2, 0.4, 100, 9)
    good = replace(score, label="AU12", value=0.9)
    assert recipe.weakest([score, good]) == "AU23 (F1 0.31)"
