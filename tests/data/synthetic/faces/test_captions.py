import dataclasses
import re

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces.action_units import COMPOUNDS, deform, sided, target_weights
from semeia.data.synthetic.faces.captions import DEEDS, MOODS, caption
from semeia.data.synthetic.faces.light import place_camera
from semeia.data.synthetic.faces.spec import Stream, sample_spec
from semeia.data.synthetic.faces.truth import label
from semeia.records import ACTION_UNITS, EXPRESSIONS, FaceLabels, Pose

HOLDS = {
    "black hair": "Black_Hair", "blond hair": "Blond_Hair", "brown hair": "Brown_Hair", "grey hair": "Gray_Hair",
    "bald head": "Bald", "goatee": "Goatee", "moustache": "Mustache", "stubble": "5_o_Clock_Shadow", "fringe": "Bangs",
    "bushy eyebrows": "Bushy_Eyebrows", "full lips": "Big_Lips", "rosy cheeks": "Rosy_Cheeks", "glasses": "Eyeglasses",
    "bags under": "Bags_Under_Eyes", "wavy hair": "Wavy_Hair", "lipstick": "Wearing_Lipstick", "a hat": "Wearing_Hat",
    "face mask": "Mask", "earrings": "Wearing_Earrings",
}  # fmt: skip
TENS = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")


@pytest.fixture(scope="module")
def labelled(head):
    """Labels of three hundred shots on the template's head."""
    shots = []
    for identity in range(100):
        for k in (0, 1, 2):
            shot = sample_spec(6, identity, k)
            palsy = shot.person.palsy
            shown = sided(shot.action, balance=shot.person.balance, palsy=palsy, one_sided=shot.one_sided)
            resting = deform(head.vertices, target_weights({}, gaze=shot.gaze, palsy=palsy))
            acting = deform(head.vertices, target_weights(shown, gaze=shot.gaze, palsy=palsy))
            camera = place_camera(shot, head.vertices, 128)
            heads = {"neutral": head.vertices, "resting": resting, "acting": acting}
            shots.append((shot, label(shot, shown=shown, camera=camera, split="train", **heads)))
    return shots


def test_looks_and_things_that_are_told_are_labelled(labelled):
    for _, labels in labelled:
        for words, name in HOLDS.items():
            if words in labels.caption:
                assert labels.attributes[name] == 1, labels.caption
        if " a beard" in labels.caption:
            assert labels.attributes["No_Beard"] == 0


def test_age_and_sex_that_are_told_are_labelled(labelled):
    for _, labels in labelled:
        words = set(re.findall(r"[a-z]+", labels.caption))
        if words & {"man", "boy", "his"}:
            assert labels.attributes["Male"] == 1
        if words & {"woman", "girl", "her"}:
            assert labels.attributes["Male"] == 0
        for decade, name in enumerate(TENS, start=2):
            assert name not in words or int(labels.age // 10) == decade
        assert not words & {"boy", "girl", "child", "teenager"} or labels.age < 20
        assert "appears" in words


def test_deeds_that_are_told_are_present_as_strongly_and_on_the_side_that_is_told(labelled):
    for _, labels in labelled:
        for unit in ACTION_UNITS:
            for deed in DEEDS[unit]:
                found = re.search(
                    rf"{deed}(?= |,|\.)( strongly| broadly| slightly)?( on the (left|right) side)?", labels.caption
                )
                if not found:
                    continue
                assert labels.au_occurrence[unit] == 1, labels.caption
                strength = labels.au_intensity[unit]
                assert {" slightly": strength < 2.8, None: 2.8 <= strength < 4}.get(found[1], strength >= 4)
                if found[3]:
                    stronger, weaker = (labels.au_left, labels.au_right)[:: 1 if found[3] == "left" else -1]
                    assert stronger[unit] > weaker[unit]
                    assert weaker[unit] < 1


def test_moods_that_are_told_are_the_labelled_expression(labelled):
    for _, labels in labelled:
        moods = [
            name
            for name in EXPRESSIONS
            if any(f"{words} " in labels.caption.replace(",", " ").replace(".", " ") for words in MOODS[name])
        ]
        assert moods in ([], [labels.expression])
        compounds = [name for name in COMPOUNDS if f"looks {name}" in labels.caption]
        assert compounds in ([], [labels.compound])


def test_turns_that_are_told_are_those_of_the_pose(labelled):
    for _, labels in labelled:
        text, pose = labels.caption, labels.pose
        for side, sign in (("right", 1), ("left", -1)):
            if re.search(rf"turned( far| slightly)? to (his|her|their) {side}", text):
                assert sign * pose.yaw >= 8
        for way, sign in (("up", 1), ("down", -1)):
            if re.search(rf"tilted( far| slightly)? {way}", text):
                assert sign * pose.pitch >= 8
        if "facing the camera" in text:
            assert max(abs(pose.yaw), abs(pose.pitch)) < 4


def test_the_same_shot_is_told_alike_and_others_in_other_words(labelled):
    shot, labels = labelled[4]
    assert caption(labels, shot.shot_stream(Stream.CAPTION)) == labels.caption
    assert len({text.caption for _, text in labelled}) > 0.9 * len(labelled)


def test_nothing_is_made_up_where_nothing_is_known():
    rng = np.random.default_rng(0)
    bare = FaceLabels(key="a")
    assert caption(bare, rng).endswith((" is seen.", " is shown."))
    told = caption(dataclasses.replace(bare, expression="contempt", pose=Pose(-20.0, 0.0, 0.0)), rng)
    assert told.endswith(" looks contemptuous, their head turned to their left.")
