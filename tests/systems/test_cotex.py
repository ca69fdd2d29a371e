"""Masked CoTEX: own masks, tokens that are dropped, networks that share nothing."""

from dataclasses import replace

import pytest
import torch

from semeia.nn.masking import kept
from semeia.records import SemeiaError
from semeia.systems import cotex

TINY = cotex.Config(image_size=64, backbone_width=48, expressions=("neutral", "happiness", "sadness"))


def batch(count=6):
    made = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (count,), generator=made)
    return {
        "image": torch.rand(count, 3, 64, 64, generator=made), "expression": labels,
        "expression_mask": torch.ones(count).bool(),
    }  # fmt: skip


def built(**changes):
    torch.manual_seed(0)
    return cotex.build(replace(TINY, **changes))


def test_three_quarters_hidden_leave_49_of_196_tokens():
    assert kept(196, 0.75) == 49
    model = built(backbone="vit_tiny_patch16_224", image_size=224, pooling="class")
    seen = []
    model.networks[0].backbone.model.blocks[0].register_forward_hook(lambda m, given, out: seen.append(given[0].shape))
    model.logits(torch.rand(2, 3, 224, 224), masked=True)
    assert seen == [(2, 50, 192)]


def test_networks_that_are_equal_and_see_all_agree():
    model = built(mask_ratio=0.0)
    model.networks[1].load_state_dict(model.networks[0].state_dict())
    torch.nn.init.normal_(model.networks[0].head.weight)
    model.networks[1].load_state_dict(model.networks[0].state_dict())
    assert model.eval()(batch())["agreement"].abs() < 1e-7


def test_each_network_hides_its_own_patches():
    model, image = built(), batch()["image"]
    one, other = model.visible(image), model.visible(image)
    assert one.shape == (6, 4)
    assert not torch.equal(one, other)


def test_networks_share_no_weight():
    model = built()
    places = [{p.data_ptr() for p in network.parameters()} for network in model.networks]
    assert not places[0] & places[1]


def test_nothing_is_hidden_in_use_and_logits_are_added():
    model, image = built().eval(), batch()["image"]
    for network in model.networks:
        torch.nn.init.normal_(network.head.weight)
    one, other = model.logits(image, masked=False)
    assert torch.allclose(model.predict(image)["expression"], (one + other).softmax(-1), atol=1e-6)
    assert torch.allclose(model.predict(image)["each"][:, 1], other.softmax(-1), atol=1e-6)


def test_the_weight_of_agreement_is_that_of_a_mean_over_classes():
    model = built(agreement=100.0)
    torch.nn.init.normal_(model.networks[0].head.weight)
    out = {name: float(value.detach()) for name, value in model(batch()).items()}
    assert out["agreement"] > 0
    assert out["loss"] == pytest.approx(out["expression"] + 100 * out["agreement"])


def test_a_batch_without_labels_has_finite_gradients():
    labels = batch() | {"expression_mask": torch.zeros(6).bool(), "expression": torch.full((6,), -1)}
    model = built()
    out = model(labels)
    out["loss"].backward()
    assert out["expression"] == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_one_network_is_a_masked_classifier():
    assert built(networks=1)(batch())["agreement"].abs() < 1e-7


@pytest.mark.parametrize(("changes", "words"), [
    ({"networks": 0}, "at least 1"), ({"mask_ratio": 1.0}, "less than 1"), ({"mask_ratio": 0.99}, "a patch left"),
    ({"pooling": "class"}, "no class token"), ({"pooling": "max"}, "expected one of mean, class"),
])  # fmt: skip
def test_what_does_not_fit_is_told(changes, words):
    with pytest.raises(SemeiaError, match=words):
        built(**changes)
