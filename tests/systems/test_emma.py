"""EMMA: what is frozen stays, what is missing costs nothing, and affect comes from scores alone."""

from dataclasses import replace

import pytest
import torch

from semeia.records import SemeiaError
from semeia.systems import emma
from semeia.train.optimisers import adamw

TINY = emma.Config(
    image_size=64, backbone_width=48, hidden=16, affect_hidden=16, expressions=("neutral", "happiness", "sadness"),
    action_units=("AU04", "AU12"),
)  # fmt: skip


def batch(count=6, seed=0):
    made = torch.Generator().manual_seed(seed)
    return {
        "image": torch.rand(count, 3, 64, 64, generator=made),
        "expression": torch.randint(3, (count,), generator=made), "expression_mask": torch.ones(count).bool(),
        "au_occurrence": torch.randint(2, (count, 2), generator=made).float(),
        "au_occurrence_mask": torch.ones(count, 2).bool(),
        "valence_arousal": torch.rand(count, 2, generator=made) * 2 - 1,
        "valence_arousal_mask": torch.ones(count, 2).bool(),
    }  # fmt: skip


def built(**changes):
    torch.manual_seed(0)
    return emma.build(replace(TINY, **changes))


def test_every_tensor_of_the_frozen_network_stays_as_it_was():
    model = built(cnn="resnet18", cnn_classes=5)
    before = {name: value.clone() for name, value in model.cnn.state_dict().items()}
    (optimizer,) = adamw(model, lr=1e-2, weight_decay=0.1).values()
    model.train()
    for step in range(3):
        model(batch(seed=step))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    after = model.cnn.state_dict()
    assert not model.cnn.training
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert any("running_mean" in name for name in before)


def test_the_frozen_network_is_in_no_group():
    names = {name for group in built().groups() for name, _ in group["named_params"]}
    assert not any(name.startswith("cnn.") for name in names)
    own = [group for group in built().groups() if group.get("constant")]
    assert [name for name, _ in own[0]["named_params"]] == ["read.0.weight", "read.0.bias", "read.2.weight",
                                                           "read.2.bias"]  # fmt: skip


def test_the_loss_of_affect_teaches_the_network_through_its_scores():
    model = built()
    model(batch())["valence_arousal"].backward()
    assert model.head[2].weight.grad.abs().max() > 0
    assert next(model.backbone.parameters()).grad.abs().max() > 0


@pytest.mark.parametrize("affect", ["scores", "vit scores", "cnn scores", "features"])
def test_affect_is_read_from_what_the_arm_says(affect):
    model = built(affect=affect).eval()
    image = batch()["image"]
    before = model.predict(image)["valence_arousal"]
    with torch.no_grad():
        model.head[2].weight.normal_()
    changed = not torch.allclose(before, model.predict(image)["valence_arousal"])
    assert changed is (affect in ("scores", "vit scores"))


@pytest.mark.parametrize("name", ["expression", "au_occurrence", "valence_arousal"])
def test_a_task_without_labels_costs_nothing_and_gradients_stay_finite(name):
    model, labels = built(), batch()
    labels[f"{name}_mask"] = torch.zeros_like(labels[f"{name}_mask"])
    out = model(labels)
    part = "action_units" if name == "au_occurrence" else name
    assert out[part] == 0
    out["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_batch_without_any_label_costs_nothing():
    labels = batch()
    labels |= {name: torch.zeros_like(value) for name, value in labels.items() if name.endswith("_mask")}
    assert built()(labels)["loss"] == 0


def test_units_are_summed_and_divided_by_all_images():
    model, labels = built().eval(), batch()
    with torch.no_grad():
        model.head[2].weight.zero_()
        model.head[2].bias.zero_()
    labels["au_occurrence_mask"][3:] = False
    assert float(model(labels)["action_units"].detach()) == pytest.approx(3 * 2 * 0.6931472 / 6, abs=1e-5)


def test_answers_are_probabilities_and_affect_is_bounded():
    model = built().eval()
    with torch.no_grad():
        model.read[2].bias.fill_(9.0)
    said = model.predict(batch()["image"])
    assert said["expression"].sum(-1) == pytest.approx(1)
    assert ((said["au_probability"] > 0) & (said["au_probability"] < 1)).all()
    assert (said["valence_arousal"] == 1).all()


@pytest.mark.parametrize("pooling", ["mean", "places"])
def test_features_have_the_width_of_their_pooling(pooling):
    assert built(pooling=pooling).features(batch()["image"]).shape == (6, 48 if pooling == "mean" else 48 * 16)


def test_a_timm_vit_answers_by_its_class_token():
    model = built(backbone="vit_tiny_patch16_224", pooling="class")
    assert model.features(batch()["image"]).shape == (6, 192)


def test_what_does_not_fit_is_told():
    with pytest.raises(SemeiaError, match="has no class token"):
        built(pooling="class")
    with pytest.raises(SemeiaError, match="expected one of places, mean, class"):
        built(pooling="max")
    with pytest.raises(SemeiaError, match="expected one of scores"):
        built(affect="cnn")
