"""The ledger of DETEX: arms differ in what they say, and sums become numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semeia.claims import detex as claims
from semeia.ledger.claims import Setting
from semeia.ledger.matching import check_arm

pytest.importorskip("diffusers")


def test_every_arm_changes_what_it_says_and_nothing_else():
    base = claims.base(Setting("small", 3, ("worlds/faces",), Path("runs/x")))
    assert base.fit.seed == 3
    assert base.fit.steps == claims.STEPS
    for arm in claims.ARMS:
        check_arm(arm, base, arm.make(base), free=claims.LEDGER.free)


@pytest.mark.parametrize("scale", ["smoke", "full"])
def test_other_scales_have_their_own_lengths(scale):
    small, other = (claims.base(Setting(each, 0, (), Path("x"))) for each in ("small", scale))
    assert (other.fit.steps > small.fit.steps) is (scale == "full")


def test_the_six_claims_of_the_spec_are_there():
    assert set(claims.HEADINGS) == {f"D{number}" for number in range(1, 7)}
    assert {claim.group for claim in claims.CLAIMS} == set(claims.HEADINGS)


def test_means_and_gaps_are_of_sums():
    sums = {"subject": np.array([[3.0, 4], [0, 0]]), "foreground": np.array([[1.0, 4], [0, 0]])}
    assert claims.mean_of("subject")(sums)[0] == 0.75
    assert claims.gap(sums)[0] == 0.5
    assert np.isnan(claims.gap(sums)[1])
    assert claims.known(np.array([1.0, np.nan, 3.0])).tolist() == [4, 2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A base of the embedded kind, as small as can be, that has learned nothing."""
    from semeia.systems import face_diffusion

    torch.manual_seed(0)
    config = face_diffusion.Config(
        image_size=32, autoencoder_channels=(8, 8, 16), channels=(16, 16), heads=2, groups=8, text_width=32,
        text_layers=1, text_heads=2, vision_width=32, vision_layers=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("base") / "tiny"
    face_diffusion.build(config).save(folder, card="# tiny\n")
    return folder


def smallest(world, out, base):
    study = claims.base(Setting("smoke", 0, (str(world),), out))
    return replace(study, base=str(base), model=replace(study.model, mapper_width=8))


def test_sizes_are_of_what_is_learned(tiny, tmp_path):
    study = smallest("x", tmp_path, tiny)
    sizes = {arm.name: claims.size(arm.make(study)) for arm in claims.ARMS}
    assert sizes["textual inversion"].parameters == 32
    assert sizes["custom diffusion"].parameters > 32
    assert sizes["dreambooth"].parameters > sizes["detex"].parameters > sizes["custom diffusion"].parameters
    assert len({size.flops for size in sizes.values()}) == 1


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two pictures of one person of the test split, with regions."""
    import io

    from PIL import Image

    from semeia.data.formats.faces import write_shard
    from semeia.records import FaceLabels

    folder, rng = tmp_path_factory.mktemp("heads"), np.random.default_rng(0)
    mask = np.zeros((48, 48), np.uint8)
    mask[12:44, 12:36] = 1

    def png(array):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "PNG")
        return stream.getvalue()

    rows = [(FaceLabels(key=str(i), identity="p", split="test", attributes={"Male": 1}),
             png(rng.integers(0, 256, (48, 48, 3), np.uint8)), png(mask), {}) for i in range(2)]  # fmt: skip
    write_shard(folder, "0", rows)
    return folder


@pytest.mark.slow
def test_an_arm_is_learned_drawn_and_added_up(tiny, world, tmp_path, monkeypatch):
    from semeia import concept_scores

    class Reader:
        """Finds no face, as in noise."""

        device = torch.device("cpu")

        def read(self, image):
            return ()

    class Noise(concept_scores.Proxy):
        def embed(self, pictures):
            return np.stack([picture.reshape(-1, 3).mean(0) + 1.0 for picture in pictures])

    monkeypatch.setattr(concept_scores, "open_encoder", lambda name: Noise(Reader()))
    study = smallest(world, tmp_path / "run", tiny)
    measured = claims.measure(study, frozenset({"text", "subject", "foreground", "behind", "turn", "same"}))
    assert measured.identities == tuple(f"p | {prompt}" for prompt in study.prompts)
    assert set(measured.sums) == {"text", "subject", "foreground", "attention", "behind", "turn", "same"}
    assert {value.shape for value in measured.sums.values()} == {(2, 2)}
    assert measured.sums["text"][:, 1].tolist() == [1, 1]
    assert measured.sums["turn"][:, 1].tolist() == [0, 0]  # no face, no yaw
    assert 0 <= measured.sums["attention"][0, 0] <= 1
