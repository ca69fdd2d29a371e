"""From a folder of faces to a prior that other systems start from."""

from dataclasses import replace

import pytest
import torch

from semeia import checkpoint
from semeia.face_sets import FaceData
from semeia.media.images import read_image
from semeia.recipes import face_mae as recipe
from semeia.records import SemeiaError
from semeia.systems import face_mae, qface


def smoke(faces, out, **changes):
    config = recipe.smoke()
    return replace(config, data=FaceData(faces=(str(faces),)), fit=replace(config.fit, out=str(out)), **changes)


def student(**changes):
    prior = recipe.smoke().model
    return qface.build(
        replace(
            qface.Config(
                backbone=prior.backbone, image_size=prior.image_size, backbone_width=prior.backbone_width,
                backbone_depth=prior.backbone_depth, backbone_heads=prior.backbone_heads, taps=(0, 1, 3),
                width=48, heads=4, hidden=64,
            ),
            **changes,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(faces, tmp_path_factory):
    return recipe.train(smoke(faces, tmp_path_factory.mktemp("run")), progress=False)


def test_the_smoke_recipe_ends_with_a_checkpoint_and_a_sheet_of_reconstructions(trained):
    model, _ = checkpoint.load(trained, system="face_mae", kind=face_mae.Config, build=face_mae.build)
    assert model.config == recipe.smoke().model
    sheet = read_image(trained.parent / "reconstructions.png")
    assert sheet.shape[0] > sheet.shape[1] > 300


def test_the_card_says_what_it_learned_from_and_by_which_command(trained):
    card = (trained / "card.md").read_text()
    assert "24 images of" in card
    assert "semeia train face_mae --data worlds/" in card
    assert "| hidden patches | all |" in card


def test_q_face_starts_from_the_prior(trained):
    net = student()
    names = recipe.load_prior(net.backbone, trained, mean=net.config.mean, std=net.config.std)
    prior, _ = checkpoint.load(trained, system="face_mae", kind=face_mae.Config, build=face_mae.build)
    assert len(names) == len(net.backbone.model.state_dict())
    image = torch.rand(2, 3, 64, 64)
    (last,), _ = prior.backbone(image)
    maps, _ = net.eval().backbone(image)
    assert torch.equal(maps[-1], last)


def test_a_student_that_does_not_fit_is_told_why(trained):
    with pytest.raises(SemeiaError, match="checkpoint: the prior does not fit this backbone: heads 3 there, 6 here"):
        recipe.load_prior(student(backbone_heads=6).backbone, trained)


def test_evaluation_hides_the_same_patches_each_time(trained, faces):
    once, again = (recipe.evaluate(trained, FaceData(faces=(str(faces),)), limit=4) for _ in range(2))
    assert once == again
    assert once[0].low <= once[0].value <= once[0].high
    assert once[0].count == 4


def test_no_data_is_refused():
    with pytest.raises(SemeiaError, match="--data"):
        recipe.train(recipe.smoke())


def test_every_folder_needs_its_share(faces, tmp_path):
    with pytest.raises(SemeiaError, match="share"):
        recipe.train(smoke(faces, tmp_path, shares=(1.0, 2.0)))


def test_small_builds_and_a_plain_vit_trains_too(faces, tmp_path):
    face_mae.build(recipe.small().model)
    plain = replace(recipe.smoke().model, backbone="vit_tiny_patch16_224")
    out = recipe.train(smoke(faces, tmp_path, model=plain), progress=False)
    assert (out / "model.safetensors").is_file()
