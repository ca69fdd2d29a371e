"""Q-Face: many face tasks, one model."""

from dataclasses import replace

import pytest
import torch
from skimage.data import astronaut

from semeia import checkpoint
from semeia.systems import qface

TINY = qface.Config(
    image_size=32, taps=(0, 1, 2), backbone_width=48, backbone_depth=1, width=48, heads=4, hidden=64,
    expressions=("neutral", "happiness", "anger"), action_units=("AU06", "AU12"), attributes=("Male",),
    dropout=0.0, drop_path=0.0,
)  # fmt: skip
LABELS = 3 + 2 + 1 + 1 + 3


def model(**changes):
    torch.manual_seed(0)
    return qface.build(replace(TINY, **changes))


def batch(size=4, **labelled):
    """A batch in which nothing is labelled but what ``labelled`` gives (name -> tensor)."""
    generator = torch.Generator().manual_seed(1)
    units, attributes = len(TINY.action_units), len(TINY.attributes)
    empty = {
        "image": torch.rand(size, 3, 32, 32, generator=generator),
        "expression": torch.full((size,), -1),
        "au_intensity": torch.zeros(size, units),
        "au_occurrence": torch.zeros(size, units),
        "au_sides": torch.zeros(size, units, 2),
        "attributes": torch.zeros(size, attributes),
        "age": torch.zeros(size),
        "pose": torch.zeros(size, 3),
    }
    masks = {f"{name}_mask": torch.zeros_like(value, dtype=torch.bool) for name, value in empty.items()}
    for name, value in labelled.items():
        empty[name] = value
        masks[f"{name}_mask"] = torch.ones_like(value, dtype=torch.bool)
    return empty | masks


def everything(size=4):
    return batch(
        size,
        expression=torch.arange(size) % 3,
        au_intensity=torch.arange(size * 2).view(size, 2) % 6.0,
        au_sides=torch.arange(size * 4).view(size, 2, 2) % 6.0,
        attributes=torch.arange(size).view(size, 1) % 2.0,
        age=torch.linspace(5, 80, size),
        pose=torch.linspace(-40, 40, size * 3).view(size, 3),
    )


@pytest.mark.parametrize("fusion", list(qface.FUSIONS))
def test_every_fusion_answers_every_task(fusion):
    net = model(fusion=fusion).eval()
    out = net.predict(torch.rand(2, 3, 32, 32), maps=True)
    assert out["expression"].shape == (2, 3)
    assert out["au_intensity"].shape == out["au_probability"].shape == (2, 2)
    assert out["au_sides"].shape == (2, 2, 2)
    assert out["attributes"].shape == (2, 1)
    assert out["age"].shape == (2,)
    assert out["pose"].shape == (2, 3)
    assert out["maps"].shape == (2, LABELS, 2, 2)
    assert len(net.labels()) == LABELS


@pytest.mark.parametrize(("reading", "queries"), [("task_queries", 5), ("one_query", 1), ("pooled", 0)])
def test_every_reading_answers_every_task_and_learns(reading, queries):
    net = model(reading=reading)
    assert len(net.queries) == queries
    answer = net.eval().predict(torch.rand(2, 3, 32, 32), maps=True)
    assert answer["expression"].shape == (2, 3)
    assert answer["maps"].shape == (2, LABELS, 2, 2)
    net.train()(everything())["loss"].backward()
    assert not [name for name, p in net.decoder.named_parameters() if p.grad is None]


def test_queries_start_from_nothing_where_there_is_no_summary():
    net = model(summary=0)
    assert net.summary is None
    assert net.eval().predict(torch.rand(2, 3, 32, 32))["age"].shape == (2,)


def test_attention_maps_sum_to_one():
    for fusion in qface.FUSIONS:
        maps = model(fusion=fusion).eval().predict(torch.rand(2, 3, 32, 32), maps=True)["maps"]
        torch.testing.assert_close(maps.sum((-1, -2)), torch.ones(2, LABELS))


def test_probabilities_and_intensities_stay_in_their_ranges():
    out = model().eval().predict(torch.rand(4, 3, 32, 32))
    torch.testing.assert_close(out["expression"].sum(-1), torch.ones(4))
    assert ((out["au_intensity"] >= 0) & (out["au_intensity"] <= 5)).all()
    assert ((out["au_probability"] >= 0) & (out["au_probability"] <= 1)).all()


def test_an_unlabelled_batch_costs_nothing():
    losses = model()(batch())
    assert losses["loss"] == 0


@pytest.mark.parametrize(
    ("task", "labelled"),
    [
        ("expression", {"expression": torch.tensor([0, 1, 2, 0])}),
        ("action_units", {"au_intensity": torch.full((4, 2), 3.0)}),
        ("attributes", {"attributes": torch.ones(4, 1)}),
        ("age", {"age": torch.full((4,), 70.0)}),
        ("pose", {"pose": torch.full((4, 3), 20.0)}),
    ],
)
def test_a_task_moves_only_its_own_queries_and_readouts(task, labelled):
    net = model()
    net(batch(**labelled))["loss"].backward()
    own = net.slots[task]
    for grad in (net.queries.grad, net.readout.weight.grad):
        assert grad[own].abs().sum() > 0
        rest = grad.clone()
        rest[own] = 0
        assert rest.abs().sum() == 0


def test_occurrence_alone_trains_the_action_units():
    net = model()
    losses = net(batch(au_occurrence=torch.ones(4, 2)))
    assert losses["action_units"] > 0


def test_permuting_the_queries_of_a_task_permutes_its_outputs():
    net = model().eval()
    image = torch.rand(2, 3, 32, 32)
    tokens, position, _ = net.fused(image)
    order = torch.tensor([2, 0, 1])
    read = net.decoder(net.queries[net.slots["expression"]], tokens, position)
    permuted = net.decoder(net.queries[net.slots["expression"]][order], tokens, position)
    torch.testing.assert_close(permuted, read[:, order])


@pytest.mark.parametrize("reading", list(qface.AGES))
def test_every_reading_of_age_learns_one(reading):
    net, ages = model(age_reading=reading), torch.tensor([3.0, 30.0, 62.0, 97.0])
    data = batch(age=ages)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        net(data)["loss"].backward()
        optimizer.step()
    assert (net.eval().predict(data["image"])["age"] - ages).abs().mean() < 6


def test_a_distribution_that_is_right_costs_nothing_and_the_score_moves_it():
    head = qface.AgeDistribution(TINY)
    right = -0.5 * ((head.bins - 40) / TINY.age_spread)[None] ** 2
    assert head.loss(right, torch.tensor([40.0])).item() == pytest.approx(0, abs=1e-4)
    assert head.loss(right, torch.tensor([60.0])).item() > 2
    read = torch.zeros(1, 1, TINY.width)
    years = [head.years(head(torch.tensor([[z]]), read)).item() for z in (-1.0, 0.0, 1.0)]
    assert years == sorted(years)


def test_a_fresh_calibration_changes_nothing():
    net, image = model().eval(), torch.rand(3, 3, 32, 32)
    raw, _, _ = net.raw(image)
    read = net.predict(image)
    torch.testing.assert_close(read["expression"], raw["expression"].softmax(-1))
    torch.testing.assert_close(read["attributes"], raw["attributes"].sigmoid())
    levels = net.levels(raw["action_units"]).sigmoid()
    torch.testing.assert_close(read["au_probability"], levels[..., qface.PRESENT - 1])
    torch.testing.assert_close(read["au_intensity"], levels.sum(-1))
    torch.testing.assert_close(read["au_sides"], net.levels(raw["sides"]).sigmoid().sum(-1))


def test_only_calibrated_weights_carry_a_calibration():
    kept = [name for name in model().state_dict() if name.startswith("calibration")]
    assert "calibration.unit_threshold" in kept
    assert not [name for name in model(calibrated=False).state_dict() if name.startswith("calibration")]


def test_fields_that_older_weights_lack_have_values_for_them():
    older = qface.Config(**qface.ADDED)
    assert not older.calibrated
    assert older.age_reading == "number"


def test_it_overfits_eight_samples():
    net, data = model(), everything(8)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    first = net(data)["loss"].item()
    for _ in range(80):
        optimizer.zero_grad()
        loss = net(data)["loss"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.45 * first
    out = net.eval().predict(data["image"])
    assert (out["expression"].argmax(-1) == data["expression"]).all()


def test_saved_and_loaded_it_answers_the_same(tmp_path):
    net = model().eval()
    checkpoint.save(
        tmp_path / "net", system="qface", config=net.config, state=net.state_dict(), card="# test", half=False
    )
    config = checkpoint.load_config(tmp_path / "net", qface.Config, system="qface")
    again = qface.build(config).eval()
    checkpoint.load_state(tmp_path / "net", again)
    image = torch.rand(2, 3, 32, 32)
    for name, value in net.predict(image).items():
        torch.testing.assert_close(again.predict(image)[name], value)


def test_each_task_answers_from_the_crop_that_it_reads():
    net = model(loose=("age", "pose")).eval()
    tight, loose = (net.predict(torch.rand(2, 3, 32, 32)) for _ in range(2))
    both = net.by_view(tight, loose)
    assert both.keys() == tight.keys()
    for name, answer in both.items():
        assert answer is (loose if name in ("age", "pose") else tight)[name]
    assert net.reads_loose("yaw")
    assert not net.reads_loose("AU12")


def test_heads_look_at_different_places_from_the_first_step():
    net = model(image_size=64).eval()
    maps = net.predict(torch.rand(1, 3, 64, 64), maps=True)["maps"][0].flatten(1)
    assert maps.max(1).values.mean() > 1.5 / maps.shape[1]  # the mean of four heads
    assert maps.std(0).mean() > 0.2 / maps.shape[1]


@pytest.mark.slow
def test_on_ten_thousand_random_crops_of_the_bundled_weights_occurrence_never_contradicts_intensity():
    net, _ = checkpoint.load("qface", system="qface", kind=qface.Config, build=qface.build, later=qface.ADDED)
    photo = torch.from_numpy(astronaut()).permute(2, 0, 1)[None].float() / 255
    generator = torch.Generator().manual_seed(0)
    present, intensity = [], []
    for _ in range(40):
        place = torch.rand(250, 3, generator=generator) * torch.tensor([0.5, 1.4, 1.4]) + torch.tensor(
            [0.05, -0.7, -0.7]
        )
        turn = torch.zeros(250, 2, 3)
        turn[:, 0, 0] = turn[:, 1, 1] = place[:, 0]
        turn[:, :, 2] = place[:, 1:]
        grid = torch.nn.functional.affine_grid(turn, [250, 3, 112, 112], align_corners=False)
        crops = torch.nn.functional.grid_sample(photo.expand(250, -1, -1, -1), grid, align_corners=False)
        noise = torch.rand(250, 3, 7, 7, generator=generator)
        share = torch.rand(250, 1, 1, 1, generator=generator)
        crops = share * crops + (1 - share) * torch.nn.functional.interpolate(noise, size=(112, 112))
        answer = net.predict(crops)
        present.append(answer["au_probability"] >= net.calibration.unit_threshold)
        intensity.append(answer["au_intensity"])
    said, strength = torch.cat(present), torch.cat(intensity)  # (10000, K)
    assert said.shape[0] == 10_000
    weakest_present = strength.masked_fill(~said, torch.inf).amin(0)
    strongest_absent = strength.masked_fill(said, -torch.inf).amax(0)
    assert (strongest_absent <= weakest_present + 1e-5).all()
    assert (said.any(0) & ~said.all(0)).any()
