"""MGRR-Net: three levels of reasoning and their fusion."""

from dataclasses import replace

import pytest
import torch

from semeia.records import SemeiaError
from semeia.systems import mgrrnet

UNITS = ("AU01", "AU12", "AU15", "AU24", "AU43")
TINY = mgrrnet.Config(
    image_size=64, action_units=UNITS, stem=(4, 8), face=(8, 8), hidden=16, branches=(8, 8), cells=8, width=12,
    whole=(8,), heads=2,
)  # fmt: skip


def model(**changes):
    torch.manual_seed(0)
    return mgrrnet.build(replace(TINY, **changes))


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


def opened(net):
    """Attention that counts: gammas leave the zero at which they start."""
    for name, parameter in net.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.7)
    return net


def test_answers_have_their_shapes_and_ranges():
    out = model().eval().predict(torch.rand(3, 3, 64, 64))
    assert out["au_probability"].shape == out["au_intensity"].shape == (3, 5)
    assert out["au_sides"].shape == (3, 5, 2)
    assert ((out["au_intensity"] >= 0) & (out["au_intensity"] <= 5)).all()


def permuted(state, order):
    """The state of a network whose units stand in another order."""
    n, out = len(order), {}
    for name, value in state.items():
        if value.ndim == 0:
            out[name] = value
        elif "branches.features" in name:
            out[name] = value.unflatten(0, (n, -1))[order].flatten(0, 1)
        elif name.endswith("region.bias"):
            out[name] = value[order][:, order]
        elif name == "heads.bias":
            out[name] = value[:, order]
        elif name.startswith(("heads.", "trunk.branches.", "unit_")):
            out[name] = value[order]
        else:
            out[name] = value
    return out


def test_units_in_another_order_get_the_same_answers():
    order = [3, 0, 4, 1, 2]
    net = opened(model()).eval()
    for layer in net.layers:
        torch.nn.init.normal_(layer.region.bias)
    torch.nn.init.normal_(net.heads.bias)
    other = model(action_units=tuple(UNITS[i] for i in order)).eval()
    other.load_state_dict(permuted(net.state_dict(), order))
    image = torch.rand(2, 3, 64, 64)
    first, second = net.predict(image), other.predict(image)
    for name in ("au_probability", "au_intensity", "au_sides"):
        torch.testing.assert_close(second[name], first[name][:, order])


def test_rows_of_attention_sum_to_one():
    net = model()
    v = torch.randn(2, 5, 12)
    torch.testing.assert_close(net.layers[0].region.edges(v).sum(-1), torch.ones(2, 5))
    rows = net.layers[0].places.rows(torch.randn(2, 9, 2, 4))
    assert rows.shape == (2, 2, 9, 9)
    torch.testing.assert_close(rows.sum(-1), torch.ones(2, 2, 9))


def test_graph_attention_by_hand():
    torch.manual_seed(0)
    graph = opened(mgrrnet.GraphAttention(3, heads=1, width=4))
    x = torch.randn(1, 2, 3)
    wx = graph.enter(graph.norm(x))[0]
    out = []
    for p in range(2):
        s = torch.stack([torch.nn.functional.leaky_relu(graph.asks[0] @ wx[p] + graph.offers[0] @ wx[q], 0.2)
                         for q in range(2)])  # fmt: skip
        out.append(x[0, p] + 0.7 * graph.out(s.softmax(0) @ wx))
    torch.testing.assert_close(graph(x)[0], torch.stack(out))


@pytest.mark.parametrize("kind", ["attention", "alone"])
def test_places_and_channels_start_as_they_are(kind):
    x = torch.randn(2, 9, 8)
    config = replace(TINY, places=kind, channels=kind)
    for level in (mgrrnet.place_level(config), mgrrnet.channel_level(config, 9)):
        assert torch.equal(level(x), x)


def test_what_stands_in_for_attention_sees_each_place_by_itself_and_is_as_large():
    x = torch.randn(1, 9, 8)
    changed = x.clone()
    changed[:, 4] += 1
    alone = replace(TINY, places="alone", channels="alone")
    for level, like in (
        (mgrrnet.place_level(alone), mgrrnet.place_level(TINY)),
        (mgrrnet.channel_level(alone, 9), mgrrnet.channel_level(TINY, 9)),
    ):
        torch.nn.init.ones_(level.gamma)
        apart = (level(changed) - level(x)).abs().sum(-1)[0]
        assert (apart > 0).nonzero().flatten().tolist() == [4]
        sizes = [sum(p.numel() for p in part.parameters()) for part in (level, like)]
        assert abs(sizes[0] / sizes[1] - 1) < 0.25


def test_no_layers_leave_local_features_beside_the_mean_of_the_face():
    net = model(layers=0).eval()
    image = torch.rand(2, 3, 64, 64)
    known = net.features(image)
    face = net.face(net.whole(net.trunk.stem((image - 0.5) / 0.5)).mean((2, 3)))
    torch.testing.assert_close(known["refined"], known["together"] + face[:, None])


def test_gradients_reach_all_levels_after_the_first_step():
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        net(batch())["loss"].backward()
        optimizer.step()
    layer = net.layers[0]
    for parameter in (layer.region.query.weight, layer.places.out.weight, layer.channels.among.out.weight):
        assert parameter.grad.any()
    assert layer.places.gamma != 0
    assert layer.channels.among.gamma != 0


def test_an_unlabelled_batch_costs_nothing():
    net = model()
    losses = net(batch(labelled=False))
    assert losses["loss"] == 0
    losses["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_batches_without_any_active_unit_are_finite():
    data = batch()
    for name in ("au_intensity", "au_occurrence", "au_sides"):
        data[name].zero_()
    net = model()
    net(data)["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    "changes",
    [{"region": name} for name in mgrrnet.REGIONS] + [{"fusion": name} for name in mgrrnet.FUSIONS]
    + [{"places": "alone"}, {"channels": "alone"}, {"layers": 1}, {"regions": "map"}, {"dice": "published"}],
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


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(SemeiaError, match="expected channels that 3 heads divide, found 8"):
        model(heads=3)
