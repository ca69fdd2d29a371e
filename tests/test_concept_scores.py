"""Scores of learned concepts by proxies, and the study that they are taken in."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from semeia import concept_scores as scoring
from semeia.data.formats.faces import write_shard
from semeia.face_sets import FaceData
from semeia.records import ActionUnit, Box, FaceLabels, FaceReading, Pose, SemeiaError

GREEN = (20.0, 60.0, 25.0)


def face(**readings):
    values = {
        "box": Box(0, 0, 9, 9), "score": 1.0, "expression": {"anger": 0.7}, "attributes": {"Eyeglasses": 0.9},
        "action_units": {"AU43": ActionUnit(probability=0.6, intensity=3, left=3, right=3, threshold=0.5)},
        "age": 30.0, "pose": Pose(0, 0, 0), **readings,
    }  # fmt: skip
    return FaceReading(**values)


@pytest.mark.parametrize(("prompt", "value"), [
    ("photo of a man wearing glasses", 0.9), ("photo of a man looking angry", 0.7),
    ("photo of a man with closed eyes", 0.6), ("photo of a man looking angry wearing glasses", 0.8),
    ("photo of a man in a dark green background", 1.0), ("photo of a man in a light green background", 0.5),
    ("photo of a man with blue background", 0.0), ("photo of a man wearing a hat", 0.0),
])  # fmt: skip
def test_a_prompt_is_shown_as_far_as_it_is_read(prompt, value):
    assert scoring.shown(prompt, face(), GREEN) == pytest.approx(value)


def test_where_no_face_is_found_nothing_of_a_face_is_shown():
    assert scoring.shown("photo of a man wearing glasses", None, GREEN) == 0
    assert scoring.shown("photo of a man in a dark green background", None, GREEN) == 1


def test_a_prompt_that_asks_for_nothing_readable_has_no_score():
    assert np.isnan(scoring.shown("photo of a man", face(), GREEN))


def test_every_prompt_of_the_study_asks_for_something_that_is_read():
    for prompt in scoring.PROMPTS:
        assert not np.isnan(scoring.shown(prompt, face(), GREEN)), prompt


def test_the_border_is_read_and_not_the_head():
    picture = np.full((48, 48, 3), 200, np.uint8)
    picture[8:, 8:-8] = 0
    picture[24:] = 0
    assert scoring.border_colour(picture) == (200, 200, 200)


def test_small_drawings_are_enlarged_and_large_ones_are_not():
    assert scoring.enlarged(np.zeros((64, 64, 3), np.uint8)).shape == (256, 256, 3)
    large = np.zeros((300, 400, 3), np.uint8)
    assert scoring.enlarged(large) is large


def test_pictures_of_any_size_make_one_batch():
    pictures = [np.full((20, 31, 3), 255, np.uint8), np.full((64, 64, 3), 255, np.uint8)]
    batch = scoring.as_batch(pictures, 16, resize=20, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert batch.shape == (2, 3, 16, 16)
    assert torch.allclose(batch, torch.ones(()))


class Colours:
    """An encoder that sees mean colours and nothing else."""

    name, scale = "colours", "raw cosine"

    def embed(self, pictures):
        return np.stack([picture.reshape(-1, 3).mean(0) + 1 for picture in pictures])

    def alignment(self, pictures, prompts):
        return np.full(len(pictures), 0.5)


def test_a_drawing_with_the_photos_background_leaks_and_one_without_does_not():
    photo = np.zeros((10, 10, 3), np.uint8)
    photo[:, :, 1] = 200
    photo[3:7, 3:7] = (200, 0, 0)
    mask = np.zeros((10, 10), np.float32)
    mask[3:7, 3:7] = 1
    white = np.where(mask[..., None] > 0, photo, 255).astype(np.uint8)
    found = scoring.score(Colours(), [photo, white], ["p", "q"], references=[photo], masks=[mask])
    assert found.gap[0] > 0 > found.gap[1]
    assert found.subject[0] == pytest.approx(1)
    assert found.foreground[1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("pictures", "prompts", "masks", "words"), [
    (0, 0, 1, "found 0 and 1"), (2, 1, 1, "a prompt for each of 2"), (1, 1, 0, "a mask for each of 1"),
])  # fmt: skip
def test_scores_need_what_they_compare(pictures, prompts, masks, words):
    picture = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(SemeiaError, match=words):
        scoring.score(Colours(), [picture] * pictures, ["p"] * prompts, references=[picture],
                      masks=[np.ones((4, 4))] * masks)  # fmt: skip


@pytest.mark.parametrize("name", ["", "vgg", "proxy:other"])
def test_an_unknown_encoder_is_refused(name, monkeypatch):
    monkeypatch.setattr(scoring.FaceReader, "load", lambda **_: None)
    with pytest.raises(SemeiaError, match="expected proxy, clip, dino"):
        scoring.open_encoder(name)


def test_an_encoder_that_is_not_there_is_told_what_to_do(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(SemeiaError, match="cannot be loaded"):
        scoring.open_encoder(f"clip:{tmp_path}")


def test_clip_from_a_folder_scores_pictures_and_prompts(tmp_path):
    transformers = pytest.importorskip("transformers")
    from semeia.systems.face_diffusion import word_tokenizer

    tokenizer = word_tokenizer(("photo", "man"), length=8)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**size, "vocab_size": len(tokenizer), "max_position_embeddings": 8,
            "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}  # fmt: skip
    vision = {**size, "image_size": 32, "patch_size": 16}
    model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    clip = scoring.open_encoder(f"clip:{tmp_path}")
    pictures = [np.random.default_rng(i).integers(0, 256, (40, 50, 3), np.uint8) for i in range(3)]
    assert clip.embed(pictures).shape == (3, 8)
    aligned = clip.alignment(pictures, ["photo of a man"] * 3)
    assert aligned.shape == (3,)
    assert (np.abs(aligned) <= 1).all()
    assert clip.scale == "raw cosine"


# ---------------------------------------------------------------------------------------------------------------------
# The study


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    import io

    from PIL import Image

    folder = tmp_path_factory.mktemp("heads")
    rng = np.random.default_rng(0)
    mask = np.zeros((48, 48), np.uint8)
    mask[12:44, 12:36] = 1

    def png(array):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "PNG")
        return stream.getvalue()

    def sample(i):
        labels = FaceLabels(
            key=f"{i:03d}", identity=f"p{i // 3}", split="train" if i < 3 else "test",
            attributes={"Male": i // 3 % 2},
        )  # fmt: skip
        return labels, png(rng.integers(0, 256, (48, 48, 3), np.uint8)), png(mask), {}

    write_shard(folder, "0", (sample(i) for i in range(9)))
    return folder


def study(world, out, **changes):
    base = scoring.Study(
        data=FaceData(faces=(str(world),)), subjects=2, photos=2, noises=1, prompts=scoring.PROMPTS[:2]
    )
    return replace(base, fit=replace(base.fit, out=str(out)), **changes)


def test_subjects_are_persons_of_the_test_split_with_their_masks(world, tmp_path):
    subjects = scoring.held_out(study(world, tmp_path), tmp_path / "photos")
    assert [(s.name, s.class_word, len(s.photos)) for s in subjects] == [("p1", "man", 2), ("p2", "woman", 2)]
    assert subjects[0].masks[0].sum() == 32 * 24
    assert sorted(p.name for p in (tmp_path / "photos" / "p1_mask").iterdir()) == ["1.png", "2.png"]


@pytest.mark.parametrize(("changes", "words"), [({"subjects": 3}, "found 2"), ({"photos": 4}, "found 0"),
                                                ({"data": FaceData()}, "no folder")])  # fmt: skip
def test_too_few_subjects_are_refused(world, tmp_path, changes, words):
    with pytest.raises(SemeiaError, match=words):
        scoring.held_out(study(world, tmp_path, **changes), tmp_path)


def test_attention_is_read_from_the_log_and_unknown_where_it_is_not_there(tmp_path):
    rows = [{"step": 1}, {"eval/overlap of attention with the subject": 0.2},
            {"eval/overlap of attention with the subject": 0.4}]  # fmt: skip
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(json.dumps(row) for row in rows))
    assert scoring.attention_overlap(tmp_path) == 0.4
    log.write_text('{"step": 1}\n')
    assert np.isnan(scoring.attention_overlap(tmp_path))


def test_every_prompt_is_drawn_from_every_noise_and_takes_its_photos_words(world, tmp_path, monkeypatch):
    asked = []

    class Artist:
        @classmethod
        def load(cls, concept, base):
            return cls()

        def draw(self, text, *, seeds, pose_of, background_of, **_):
            asked.append((text, pose_of, background_of))
            return [SimpleNamespace(image=np.zeros((8, 8, 3), np.uint8)) for _ in seeds]

    monkeypatch.setattr(scoring, "Artist", Artist)
    how = study(world, tmp_path, noises=3)
    subject = scoring.held_out(how, tmp_path / "photos")[0]
    drawing = scoring.drawn(how, subject, tmp_path, background_of_photo=True)
    assert len(drawing.pictures) == 6
    assert drawing.numbers == (0, 0, 0, 1, 1, 1)
    assert drawing.prompts[0] == "photo of a man smiling"
    assert asked == [("photo of a <subject> smiling", None, 1), ("photo of a <subject> looking angry", None, 2)]
