"""Drawing with a concept on a tiny random base."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from semeia.diffusion.export import Concept, kv_names, read_concept, save_concept
from semeia.predict.concepts import Artist, learn, with_arm
from semeia.recipes import detex as recipe
from semeia.records import SemeiaError
from semeia.systems import detex

from ..diffusion.tiny import base, photos


def words(width=32):
    g = torch.Generator().manual_seed(0)
    names = ["<rex>", *(f"<rex-{a}-{n}>" for a in ("pose", "background") for n in (1, 2))]
    return {name: torch.randn(1, width, generator=g) for name in names}


def concept(own, **fields):
    tuned = {n: own.unet.get_parameter(n).detach() * 1.2 for n in kv_names(own.unet)}
    known = {
        "trigger": "<rex>", "class_word": "dog", "words": words(), "base": "tiny", "side": 32, "kind": "kv",
        "photos": ("a.png", "b.png"), "attributes": ("pose", "background"), "tuned": tuned,
    }  # fmt: skip
    return Concept(**known | fields)


@pytest.fixture(scope="module")
def own():
    return base()


@pytest.fixture(scope="module")
def folder(own, tmp_path_factory):
    place = tmp_path_factory.mktemp("rex")
    made = concept(own)
    before = {name: own.unet.get_parameter(name).detach() for name in made.tuned}
    save_concept(place, made, processors=own.unet.attn_processors, before=before, card="")
    return place


@pytest.fixture(scope="module")
def artist(folder, own):
    return Artist.load(folder, own, device="cpu")


def test_the_class_follows_the_subject_and_attributes_the_prompt(artist):
    assert artist.told("a photo of <rex> smiling") == "a photo of <rex> dog smiling"
    assert artist.told("photo of a <rex> dog.") == "photo of a <rex> dog."
    assert artist.told("a <rex>.", pose_of=2, background_of=1) == (
        "a <rex> dog with <rex-pose-2> pose in <rex-background-1> background"
    )
    assert artist.told("a cat", background_of=2) == "a cat in <rex-background-2> background"
    assert artist.told("<rex-pose-1> pose") == "<rex-pose-1> pose"


def test_without_attribute_words_none_are_written(own):
    plain = Artist(base(), concept(own, attribute_words=False), name="rex")
    assert plain.told("a <rex>", pose_of=1) == "a <rex> dog with <rex-pose-1>"


@pytest.mark.parametrize(
    ("prompt", "photo", "told"),
    [
        ("a photo of a dog", None, "expected the subject's word in it, as in 'photo of a <rex>"),
        ("a photo of <max>", None, "<max> was not learned; known: <rex>"),
        ("a <rex> like <rex-pose-9>", None, "<rex-pose-9> was not learned"),
        ("a <rex>", 3, "this concept has the pose of photos 1 to 2"),
        ("a <rex>", 0, "pose of photo 0"),
    ],
)
def test_prompts_that_cannot_be_told_are_refused(artist, prompt, photo, told):
    with pytest.raises(SemeiaError, match=told):
        artist.told(prompt, pose_of=photo)


def test_a_concept_without_attributes_has_none_to_keep(own):
    plain = Artist(base(), concept(own, words={"<rex>": words()["<rex>"]}, attributes=()), name="rex")
    with pytest.raises(SemeiaError, match="the pose of no photo"):
        plain.told("a <rex>", pose_of=1)


def test_pictures_are_those_of_words_seeds_and_tuned_weights(artist, own):
    first = artist.draw("a <rex>", seeds=[0, 1], steps=2)
    assert [d.seed for d in first] == [0, 1]
    assert first[0].prompt == "a <rex> dog"
    assert first[0].image.shape == (32, 32, 3)
    assert np.array_equal(first[1].image, artist.draw("a <rex>", seeds=[1], steps=2)[0].image)
    posed = artist.draw("a <rex>", seeds=[0], steps=2, pose_of=1)[0]
    assert not np.array_equal(first[0].image, posed.image)
    plain = Artist(base(), concept(own, kind="none", tuned={}), name="rex").draw("a <rex>", seeds=[0], steps=2)
    assert not np.array_equal(first[0].image, plain[0].image)
    assert artist.draw("a <rex>", seeds=[0], steps=2, side=64, sampler="ddim")[0].image.shape == (64, 64, 3)
    with pytest.raises(SemeiaError, match="multiple of 4"):
        artist.draw("a <rex>", side=30)


def test_a_base_of_another_width_is_refused_with_both_widths(folder):
    with pytest.raises(SemeiaError, match=r"width 32, this base reads width 16; use the base .*\(tiny\)"):
        Artist.load(folder, base(width=16), device="cpu")


def test_another_base_of_the_same_width_is_told(folder, own):
    learned = read_concept(folder)
    noted = Artist(base(seed=1), Concept(**{**learned.__dict__, "fingerprint": "0" * 16}), name="rex")
    assert "learned on tiny" in noted.notes[0]


def test_an_embedding_of_another_tool_draws_where_its_base_is_named(tmp_path, own):
    save_file({"<toy>": torch.randn(2, 32)}, tmp_path / "toy.safetensors")
    with pytest.raises(SemeiaError, match="names no base"):
        Artist.load(tmp_path / "toy.safetensors")
    found = Artist.load(tmp_path / "toy.safetensors", own, device="cpu")
    assert found.told("a <toy>") == "a <toy>"
    assert found.draw("a <toy>", steps=2)[0].image.shape == (32, 32, 3)
    torch.save({"<toy>": torch.randn(2, 32)}, tmp_path / "toy.bin")
    with pytest.raises(SemeiaError, match="a pickle"):
        Artist.load(tmp_path / "toy.bin", own)


def test_what_the_base_will_not_read_is_told(artist):
    assert artist.doubts("a <rex> dog") == ()
    assert "last" in artist.doubts("<rex> " + "dog " * 80)[0]


def test_the_bases_own_word_in_place_of_the_trigger_is_told():
    own = base()
    made = Concept("<dog>", "", {"<dog>": torch.randn(1, 32)}, base="tiny", attributes=("pose",), photos=("a",))
    found = Artist(own, made, name="dog")
    assert "'dog' without brackets" in found.doubts("photo of a dog")[0]
    assert found.doubts("photo of a <dog>") == ()


def test_learning_by_arguments_and_its_arms(tmp_path, own):
    photos(tmp_path / "photos")
    out = learn(tmp_path / "photos", "dog", out=tmp_path / "run", base=own, trigger="<rex>", masks="salient",
                scale="smoke", arm="textual-inversion", steps=1)  # fmt: skip
    assert read_concept(out).kind == "none"
    assert Artist.load(tmp_path / "run", own, device="cpu").told("a <rex>") == "a <rex> dog"
    with pytest.raises(SemeiaError, match="an arm of detex"):
        learn(tmp_path / "photos", "dog", out=tmp_path / "run", arm="magic")


def test_an_arm_keeps_the_sizes_and_rates_of_its_scale():
    small = recipe.small()
    assert with_arm(small, "detex").model == small.model
    inversion = with_arm(small, "textual-inversion").model
    assert inversion.word_rate == detex.TEXTUAL_INVERSION.word_rate * small.model.word_rate
    assert inversion.attributes == ()
