"""ALGRNet: adaptive regions, skip-BiLSTM, fusion and refining."""

from dataclasses import replace

import pytest
import torch

from semeia.ops.face_regions import SPREAD, unit_centres
from semeia.records import SemeiaError
from semeia.systems import algrnet

UNITS = ("AU01", "AU12", "AU15", "AU24", "AU43")
TINY = algrnet.Config(
    image_size=64, action_units=UNITS, stem=(4, 8), face=(8, 8), hidden=16, branches=(8, 8), cells=8, width=12,
    relation_width=6, fusion_width=24,
)  # fmt: skip


def model(**changes):
    torch.manual_seed(0)
    return algrnet.build(replace(TINY, **changes))


def batch(size=4, *, labelled=True):
    generator = torch.Generator().manual_seed(1)
    intensity = 5 * torch.rand(size, len(UNITS), generator=generator)
    values = {
        "au_intensity": intensity,
        "au_occurrence": (intensity >= 2).float(),
        "au_sides": torch.stack([intensity, intensity * 0.5], -1),
        "landmarks": torch.rand(size, 68, 2, generator=generator) * 0.4 + 0.3,
    }
    masks = {f"{name}_mask": torch.full_like(value, labelled, dtype=torch.bool) for name, value in values.items()}
    return {"image": torch.rand(size, 3, 64, 64, generator=generator), **values, **masks}


def test_answers_have_their_shapes_and_ranges():
    out = model().eval().predict(torch.rand(3, 3, 64, 64))
    assert out["au_probability"].shape == out["au_intensity"].shape == (3, 5)
    assert out["au_sides"].shape == (3, 5, 2)
    assert out["points"].shape == (3, 49, 2)
    assert ((out["au_intensity"] >= 0) & (out["au_intensity"] <= 5)).all()


def test_the_adaptive_head_starts_as_the_fixed_rule_exactly():
    net, image = model().eval(), torch.rand(2, 3, 64, 64)
    seen = net.trunk(image)
    at, spread, moved = net.adapt(seen, *net.trunk.centres(seen.points))
    assert torch.equal(at, unit_centres(seen.points, UNITS))
    assert (spread == SPREAD).all()
    assert moved == 0
    fixed = model(adaptive="fixed").eval()
    fixed.load_state_dict(net.state_dict())
    assert torch.equal(fixed.predict(image)["au_intensity"], net.predict(image)["au_intensity"])


def test_a_fixed_region_stays_where_it_is_whatever_its_head_says():
    for adaptive, moves, stretches in (("fixed", False, False), ("offset", True, False), ("offset_scale", True, True)):
        net = model(adaptive=adaptive).eval()
        torch.nn.init.normal_(net.adapt.decide.weight)
        seen = net.trunk(torch.rand(2, 3, 64, 64))
        centres, spreads = net.trunk.centres(seen.points)
        at, spread, _ = net.adapt(seen, centres, spreads)
        assert bool((at != centres).any()) is moves
        assert bool((spread != spreads).any()) is stretches


def test_gradients_reach_places_and_sizes_but_not_landmarks():
    net = model()
    known = net.features(batch()["image"])
    known["refined"].square().sum().backward()
    assert net.adapt.decide.weight.grad.any()
    decided = net.adapt.decide.bias.grad.unflatten(0, (5, 2, 4))
    assert decided[..., :2].any()
    assert decided[..., 2:].any()
    assert net.trunk.landmarks.points[-1].weight.grad is None


@pytest.mark.parametrize("skip", ["stride", "dense"])
def test_a_skip_bilstm_with_closed_gates_is_a_plain_one(skip):
    torch.manual_seed(0)
    skipping = algrnet.SkipBiLSTM(6, 4, skip=skip, stride=2)
    plain = algrnet.SkipBiLSTM(6, 4, skip="none", stride=2)
    plain.load_state_dict(skipping.state_dict(), strict=False)
    v = torch.randn(2, 7, 6)
    assert not torch.allclose(skipping(v), plain(v))
    for direction in (skipping.forwards, skipping.backwards):
        torch.nn.init.zeros_(direction.gate.weight)
        torch.nn.init.constant_(direction.gate.bias, -1e4)
    torch.testing.assert_close(skipping(v), plain(v))


def test_the_plain_one_is_torchs_lstm():
    torch.manual_seed(0)
    ours = algrnet.SkipBiLSTM(6, 4, skip="none", stride=2)
    theirs = torch.nn.LSTM(6, 4, batch_first=True, bidirectional=True)
    for direction, end in ((ours.forwards, "l0"), (ours.backwards, "l0_reverse")):
        i, f, o, n = direction.enter.weight.chunk(4)
        vars(theirs)["_parameters"][f"weight_ih_{end}"].data.copy_(torch.cat([i, f, n, o]))
        i, f, o, n = direction.repeat.weight.chunk(4)
        vars(theirs)["_parameters"][f"weight_hh_{end}"].data.copy_(torch.cat([i, f, n, o]))
        i, f, o, n = direction.enter.bias.chunk(4)
        vars(theirs)["_parameters"][f"bias_ih_{end}"].data.copy_(torch.cat([i, f, n, o]))
        vars(theirs)["_parameters"][f"bias_hh_{end}"].data.zero_()
    v = torch.randn(2, 7, 6)
    torch.testing.assert_close(ours(v), v + ours.out(theirs(v)[0]))


def test_a_dense_skip_lets_far_units_speak_at_once():
    torch.manual_seed(0)
    cell = algrnet.SkipLSTM(6, 4, skip="dense", stride=2)
    v = torch.randn(1, 5, 6)
    states = list(cell(v).unbind(1))
    offered = [cell.offers(h) for h in states]
    by_hand = sum(
        torch.sigmoid(cell.gate(torch.tanh(cell.asks(v[:, 4]) + cell.offers(states[j])))) * cell.value(states[j])
        for j in range(3)
    )
    torch.testing.assert_close(cell.skipped(v[:, 4], states[:4], offered[:4]), by_hand / 3)


def test_refining_by_a_closed_gate_keeps_the_unit_or_the_face():
    torch.manual_seed(0)
    refining = algrnet.Refining(6, 12, refine=False)
    units, places = torch.randn(2, 3, 6), torch.randn(2, 4, 6)
    torch.nn.init.zeros_(refining.mix.from_first.weight)
    torch.nn.init.zeros_(refining.mix.from_second.weight)
    torch.nn.init.constant_(refining.mix.from_first.bias, 1e4)
    torch.testing.assert_close(refining(units, places), units + refining.mix.first(units))


def test_an_unlabelled_batch_costs_nothing():
    net = model(region_weight=0.0)
    losses = net(batch(labelled=False))
    assert losses["loss"] == 0
    losses["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_batches_without_any_active_unit_are_finite():
    data = batch()
    data["au_intensity"].zero_()
    data["au_occurrence"].zero_()
    data["au_sides"].zero_()
    net = model()
    net(data)["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    "changes",
    [{"relation": name} for name in algrnet.RELATIONS] + [{"fusion": name} for name in algrnet.FUSIONS]
    + [{"regions": "map"}, {"adaptive": "whole", "regions": "map"}, {"shape": True}, {"dice": "published"}],
)  # fmt: skip
def test_every_arm_trains(changes):
    net = model(**changes)
    losses = net(batch())
    losses["loss"].backward()
    assert losses["loss"].isfinite()
    # A part that learns nothing would stop a training in several processes.
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_it_overfits_eight_faces():
    net, data = model(), batch(8)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0)
    first = None
    for _ in range(60):
        losses = net(data)
        first = first or losses
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    for name in ("presence", "local", "sides"):
        assert losses[name] < 0.7 * first[name], name
    assert losses["landmarks"] < 0.5 * first["landmarks"]


def test_without_regions_every_unit_sees_the_whole_map():
    net = model(adaptive="whole", regions="map").eval()
    seen = net.trunk(torch.rand(2, 3, 64, 64))
    centres, spreads, _ = net.adapt(seen, *net.trunk.centres(seen.points))
    regions = net.trunk.regions(seen.stem, centres, spreads)
    torch.testing.assert_close(regions[:, 3, 1], seen.stem)
    torch.testing.assert_close(regions[:, 3, 0], seen.stem.flip(-1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"adaptive": "whole"}, "expected regions 'map'"),
        ({"image_size": 100}, "a multiple of 16"),
        ({"action_units": ("AU01", "AU16")}, "no region is known of AU16"),
    ],
)
def test_values_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(SemeiaError, match=words):
        model(**changes)


def test_places_are_not_rounded_where_the_network_computes_in_bf16():
    net, image = model().eval(), torch.rand(2, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        seen = net.trunk(image)
        centres, _ = net.trunk.centres(seen.points)
    assert centres.dtype == torch.float32
    torch.testing.assert_close(centres, unit_centres(seen.points.float(), UNITS))
