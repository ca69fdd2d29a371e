import dataclasses
from typing import Any

import numpy as np
import pytest

from semeia.data.synthetic.faces.hair import (
    STRAND_POINTS,
    STRAND_RADIUS,
    STRANDS,
    Locks,
    grow_locks,
    ribbons,
    strand_colours,
)  # fmt: skip
from semeia.data.synthetic.faces.haircuts import STYLES, Hair
from semeia.data.synthetic.faces.identity import neutral_head
from semeia.data.synthetic.faces.spec import sample_spec
from semeia.data.synthetic.faces.topology import load_topology, vertex_normals


def cut(style: str, **changes: Any) -> Hair:
    record = STYLES[style]
    hair = Hair(
        colour="brown", shade=0.5, grey=0.0, bald=0.0, length=max(record.top, record.side), long=record.long, line=0.0,
        parting=0.2, curl=record.wave, lift=record.volume, style=style, fringe=record.fringe,
    )  # fmt: skip
    return dataclasses.replace(hair, **changes)


@pytest.fixture(scope="module")
def heads(head: object) -> dict[str, np.ndarray]:
    """Packed vertices of an adult and of a small child at rest."""
    person = dataclasses.replace(sample_spec(0, 1, 0).person, age=35.0)
    return {"adult": neutral_head(person), "child": neutral_head(dataclasses.replace(person, age=4.0))}


def grown(hair: Hair, head: np.ndarray, seed: int = 0) -> Locks:
    part = load_topology().smooth["skin"]
    skin = part.matrix @ head
    return grow_locks(hair, skin, vertex_normals(skin, part.triangles), np.random.default_rng(seed))


@pytest.mark.parametrize("age", ["adult", "child"])
@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_style_grows_on_every_head_and_leaves_the_eyes_free(
    style: str, age: str, heads: dict[str, np.ndarray]
) -> None:
    head = heads[age]
    points = grown(cut(style), head).points
    assert points.shape == (STRANDS, STRAND_POINTS, 3)
    assert np.isfinite(points).all()
    marks = head[load_topology().landmarks]
    left, right = marks[36:48, 0].min(), marks[36:48, 0].max()
    low, high = marks[36:48, 1].min(), marks[36:48, 1].max()
    before = (points[..., 0] > left) & (points[..., 0] < right) & (points[..., 1] > low) & (points[..., 1] < high)
    before &= points[..., 2] > marks[[36, 45], 2].min()
    assert not before.any()
    nose = (np.abs(points[..., 0]) < 0.6 * right) & (points[..., 1] < high) & (points[..., 1] > marks[8, 1])
    assert not (nose & (points[..., 2] > marks[[36, 45], 2].min())).any()


@pytest.mark.parametrize("age", ["adult", "child"])
def test_roots_stand_on_the_scalp(age: str, heads: dict[str, np.ndarray]) -> None:
    head = heads[age]
    skin = load_topology().smooth["skin"].matrix @ head
    roots = grown(cut("crop"), head).points[:, 0]
    nearest = np.linalg.norm(roots[::50, None] - skin[None], axis=2).min(1)
    assert nearest.max() < 0.11  # half an edge of the scalp's triangles
    front = (np.abs(roots[:, 0]) < 0.2) & (roots[:, 2] > 0.8)
    brows = head[load_topology().landmarks[17:27], 1].mean()
    assert roots[front, 1].min() > brows + 0.2


def test_strands_have_the_length_of_their_style(heads: dict[str, np.ndarray]) -> None:
    lengths = {
        style: np.linalg.norm(np.diff(grown(cut(style), heads["adult"]).points, axis=1), axis=2).sum(1)
        for style in ("buzz", "crop", "bob", "long straight")
    }
    middle = [float(np.median(length)) for length in lengths.values()]
    assert middle == sorted(middle)
    assert lengths["buzz"].max() < 0.15
    assert lengths["long straight"].max() > 1.5


def test_the_same_seed_grows_the_same_hair(heads: dict[str, np.ndarray]) -> None:
    first, again = grown(cut("long wavy"), heads["adult"], 7), grown(cut("long wavy"), heads["adult"], 7)
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.radius, again.radius)


def test_hairs_at_the_front_are_finer(heads: dict[str, np.ndarray]) -> None:
    locks = grown(cut("crop"), heads["adult"])
    front = (locks.points[:, 0, 2] > 0.9) & (np.abs(locks.points[:, 0, 0]) < 0.4)
    low = front & (locks.points[:, 0, 1] < np.quantile(locks.points[front, 0, 1], 0.2))
    assert locks.radius[low].mean() < 0.8 * locks.radius.mean()
    assert locks.radius.max() < 1.4 * STRAND_RADIUS


def test_a_bald_crown_is_bare_and_the_sides_are_not(heads: dict[str, np.ndarray]) -> None:
    full, bald = (grown(cut("crop", bald=share), heads["adult"]).points[:, 0] for share in (0.0, 0.9))
    crown = np.quantile(full[:, 1], 0.7)
    assert (bald[:, 1] > crown).mean() < 0.1 * (full[:, 1] > crown).mean()


def test_no_short_hair_hangs_below_the_chin(heads: dict[str, np.ndarray]) -> None:
    chin = heads["adult"][load_topology().landmarks[8], 1]
    assert grown(cut("crop"), heads["adult"]).points[..., 1].min() > chin


def test_grey_hairs_are_single_strands() -> None:
    colours = strand_colours(cut("crop", grey=0.5), np.random.default_rng(0))
    assert colours.shape == (STRANDS, 3)
    assert colours.min() > 0
    assert 0.4 < (colours[:, 2] > 0.15).mean() < 0.6
    assert (strand_colours(cut("crop"), np.random.default_rng(0))[:, 2] > 0.15).mean() < 0.01


def test_ribbons_face_the_camera() -> None:
    curve = np.array([[[0.0, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.2, 0.0]]])
    vertices, triangles, normals = ribbons(curve, np.array([0.01]), np.array([0.0, 0.0, 10.0]))
    assert vertices.shape == (6, 3)
    assert triangles.shape == (4, 3)
    np.testing.assert_allclose(np.abs(normals[:, 2]), 1, atol=1e-3)
