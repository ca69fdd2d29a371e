"""Matched arms over seeds, and what is said of their difference."""

import json
from dataclasses import fields
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from semeia.data.augment import Augmentation
from semeia.face_sets import FaceData
from semeia.recipes import qface as recipe


@pytest.fixture(scope="module")
def study():
    """The script, which is part of no package."""
    import sys

    spec = spec_from_file_location("face_study", Path(__file__).parents[2] / "benchmarks" / "face_study.py")
    module = module_from_spec(spec)
    sys.modules["face_study"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["face_study"]


def test_every_probability_of_augmentation_belongs_to_one_family(study):
    named = [name for family in study.FAMILIES.values() for name in family]
    assert len(named) == len(set(named))
    assert {f.name for f in fields(Augmentation) if f.name.startswith("p_")} <= set(named)


def test_no_family_leaves_the_picture_as_it_is(study):
    from semeia.data.augment import develop, sample_jitter

    none = study.augmentation_study(recipe.small(), None).arms["none"].augmentation
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 32, 3), np.uint8)
    for _ in range(20):
        np.testing.assert_array_equal(develop(image, none, rng), image)
        assert sample_jitter(none, rng) == type(sample_jitter(none, rng))()


def test_a_question_compares_arms_that_there_are(study):
    for build in study.STUDIES.values():
        made = build(recipe.small(), "somewhere")
        for question in made.questions:
            assert {question.arm, question.reference} <= set(made.arms)


def test_both_arms_of_the_prior_have_its_backbone(study):
    model = study.built_as(recipe.small().model, study.face_mae.Config())
    assert (model.backbone, model.taps) == ("fine_vit", (0, 1, 2))
    study.qface.build(model)


def test_a_clear_difference_holds_or_fails_and_a_noisy_one_is_inconclusive(study):
    better, worse = [0.61, 0.62, 0.60], [0.51, 0.53, 0.50]
    assert study.judge(better, worse, sign=1).word == "holds"
    assert study.judge(better, worse, sign=-1).word == "fails"
    assert study.judge([0.5, 0.7, 0.4], [0.6, 0.5, 0.5], sign=1).word == "inconclusive"
    assert study.judge([0.9, 0.9], [0.1, 0.1], sign=1).word == "inconclusive"
    assert study.judge([0.9, 0.9, float("nan")], [0.1, 0.1, 0.1], sign=1).word == "inconclusive"


def test_the_t_interval_by_hand(study):
    verdict = study.judge([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], sign=1)
    assert verdict.difference == 2
    assert verdict.low == pytest.approx(2 - 4.302653 / 3**0.5)


def test_a_run_is_known_by_what_decides_its_numbers(study):
    from dataclasses import replace

    config = recipe.small()
    moved = replace(config, fit=replace(config.fit, out="elsewhere"), data=FaceData(faces=("/here/faces",)))
    assert study.key_of("a", replace(moved, data=FaceData(faces=("/there/faces",)))) == study.key_of("a", moved)
    assert study.key_of("a", replace(moved, rarity=0.0)) != study.key_of("a", moved)


def test_a_study_runs_and_goes_on_where_it_was(study, faces, tmp_path, capsys):
    flags = f"learning --data {faces} --other {faces} --scale smoke --steps 1 --limit 8 --seeds 0".split()
    flags += ["--out", str(tmp_path / "runs"), "--results", str(tmp_path)]
    study.main(flags)
    first = capsys.readouterr().out
    assert "| as it is | other test |" in first
    assert "inconclusive" in first
    rows = json.loads((tmp_path / "face_study_learning.json").read_text())
    assert len(rows) == len(study.learning_study(recipe.smoke(), None).arms)
    assert "node" not in next(iter(rows.values()))["machine"]
    study.main(flags)
    again = capsys.readouterr().out
    assert " s\n" not in again
    assert "| as it is | other test |" in again


def test_kept_rows_are_told_without_running_anything(study, tmp_path, capsys):
    rows = {
        f"{arm}, seed {seed}": {
            "arm": arm,
            "seed": seed,
            "values": {"usual test": dict.fromkeys(study.METRICS, better + 0.01 * seed)},
        }
        for arm, better in (("no prior", 0.5), ("prior", 0.6))
        for seed in range(3)
    }
    (tmp_path / "face_study_prior.json").write_text(json.dumps(rows))
    study.main(["prior", "--table", "--results", str(tmp_path)])
    assert "| a face prior helps | usual test | expression/accuracy | +0.1000 |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="run it first"):
        study.main(["augmentation", "--table", "--results", str(tmp_path)])
