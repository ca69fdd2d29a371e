"""Facial palsy: what mirroring must and must not change, what is unlabelled, what can be learned."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from semeia.systems import palsy

UNITS = ("AU01", "AU12", "AU43")
TINY = palsy.Config(action_units=UNITS, width=5, encoder=8, dropout=0.0)


def model(reader=None, **changes):
    torch.manual_seed(0)
    return palsy.Palsy(replace(TINY, **changes), reader)


def batch(size=4, pictures=3, **labels):
    generator = torch.Generator().manual_seed(1)
    data = {
        "sides": torch.rand(size, pictures, 3, 2, 5, generator=generator),
        "intensity": 5 * torch.rand(size, pictures, 3, 2, generator=generator),
        "measures": torch.rand(size, pictures, 4, 2, generator=generator),
        "exercise": torch.randint(0, 6, (size, pictures), generator=generator),
        "shown": torch.ones(size, pictures, dtype=torch.bool),
        "grade": torch.full((size,), -1),
        "degree": torch.full((size,), float("nan")),
        "side": torch.full((size,), -1),
    }
    return data | labels


def mirrored(data):
    """The features of mirrored faces: the sides change places."""
    return data | {
        "sides": data["sides"].flip(3), "intensity": data["intensity"].flip(3), "measures": data["measures"].flip(3)
    }  # fmt: skip


def test_a_mirrored_patient_has_the_same_grade_and_degree_and_the_other_side():
    net, data = model().eval(), batch(50)
    here, there = net.predict(data), net.predict(mirrored(data))
    assert torch.equal(here["grade"], there["grade"])
    torch.testing.assert_close(here["grades"], there["grades"])
    torch.testing.assert_close(here["degree"], there["degree"])
    torch.testing.assert_close(here["left"], 1 - there["left"])


def test_equal_sides_have_no_weak_one():
    data = batch()
    data = data | {name: data[name][:, :, :, :1].expand_as(data[name]) for name in ("sides", "intensity", "measures")}
    torch.testing.assert_close(model().eval().predict(data)["left"], torch.full((4,), 0.5))


def test_grades_are_probabilities_and_the_grade_is_reached_by_half():
    out = model().eval().predict(batch(20))
    torch.testing.assert_close(out["grades"].sum(-1), torch.ones(20))
    assert (out["grades"] >= 0).all()
    for row, grade in zip(out["grades"], out["grade"], strict=True):
        assert row[grade:].sum() >= 0.5
        assert row[grade + 1 :].sum() < 0.5


def test_pictures_that_are_not_there_change_nothing():
    net, data = model().eval(), batch(4, 3)
    data["shown"][:, 2] = False
    other = data | {"sides": data["sides"].clone()}
    other["sides"][:, 2] += 9
    for name, value in net.predict(data).items():
        if name != "each":
            torch.testing.assert_close(net.predict(other)[name], value)


def test_a_patient_without_any_label_costs_nothing():
    net = model()
    losses = net(batch())
    assert losses["loss"] == 0
    losses["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_a_healthy_face_may_be_given_room():
    net, data = model().eval(), batch(30)
    torch.nn.init.constant_(net.levels.first, -100.0)
    torch.nn.init.constant_(net.levels.gaps, 0.0)
    assert (net.predict(data)["grade"] == 5).all()
    net.room += 200
    assert (net.predict(data)["grade"] == 0).all()
    assert (net.predict(data)["grades"] >= 0).all()


def test_it_learns_grade_degree_and_side_of_eight_patients():
    labels = {"grade": torch.tensor([0, 1, 2, 3, 4, 5, 2, 4]), "degree": torch.linspace(0, 1, 8),
              "side": torch.tensor([-1, 0, 1, 0, 1, 0, 1, 0])}  # fmt: skip
    net, data = model(), batch(8, **labels)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0)
    for _ in range(200):
        losses = net(data)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    out = net.eval().predict(data)
    assert (out["grade"] - labels["grade"]).abs().max() <= 1
    assert (out["degree"] - labels["degree"]).abs().max() < 0.1
    weak = labels["side"] >= 0
    assert ((out["left"] > 0.5).long() == labels["side"])[weak].all()


class Heads:
    """Reads intensities of sides from their features."""

    def __call__(self, refined, sides, together):
        return sides

    def answers(self, scores):
        return {"au_sides": scores.sigmoid().mean(-1) * 5}


class Reader(nn.Module):
    """Stands in for a network for action units."""

    def __init__(self):
        super().__init__()
        self.see, self.heads = nn.Linear(3, 3 * 2 * 5), Heads()

    def features(self, image):
        sides = self.see(image.mean((2, 3))).unflatten(-1, (3, 2, 5))
        return {"refined": None, "sides": sides, "together": None}


@pytest.mark.parametrize("frozen", [True, False])
def test_the_network_for_units_learns_only_where_it_is_not_frozen(frozen):
    reader = Reader()
    net = model(reader, frozen=frozen)
    data = batch(grade=torch.tensor([0, 1, 2, 3]))
    data = {name: value for name, value in data.items() if name not in {"sides", "intensity"}}
    net(data | {"image": torch.rand(4, 3, 3, 8, 8)})["loss"].backward()
    assert (reader.see.weight.grad is None) is frozen
    assert not any(name.startswith("_reader") for name in net.state_dict())
    named = [name for group in net.groups() for name, _ in group["named_params"]]
    assert any(name.startswith("reader.") for name in named) is not frozen
