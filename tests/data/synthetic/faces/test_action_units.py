import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces import action_units
from semeia.data.synthetic.faces.action_units import COMPOUNDS, PROTOTYPES, TARGETS, deform, target_weights
from semeia.data.synthetic.faces.identity import neutral_head
from semeia.data.synthetic.faces.spec import sample_spec
from semeia.data.synthetic.faces.topology import load_topology

pytestmark = pytest.mark.usefixtures("head")


@pytest.fixture(scope="module")
def children():
    people = [sample_spec(4, identity, 0).person for identity in range(400)]
    return [neutral_head(person) for person in people if person.age < 9]


def smiling(head):
    return deform(head, target_weights({"AU12": (5.0, 5.0)}, gaze=(0.0, 0.0), palsy=None))


def turned(rest, acting):
    """How many quads of skin near the mouth have turned over."""
    quads, _ = action_units._skin_near_mouth()
    normals = [action_units._quad_normals(mesh, quads) for mesh in (rest, acting)]
    return int(((normals[0] * normals[1]).sum(1) < 0).sum())


def test_smiles_of_children_seldom_fold_their_skin(children, monkeypatch):
    mended = np.mean([turned(child, smiling(child)) for child in children])
    monkeypatch.setattr(action_units, "_UNFOLDINGS", 0)
    monkeypatch.setattr(action_units, "_LEAST_LIFT", 1.0)
    torn = np.mean([turned(child, smiling(child)) for child in children])
    assert mended < 0.5 * torn  # 0.31 over these fifteen


def test_a_childs_full_smile_still_lifts_the_corners_and_keeps_them_outermost(children):
    landmarks = load_topology().landmarks
    for child in children:
        rest, now = child[landmarks], smiling(child)[landmarks]
        assert (now[[48, 54], 1] - rest[[48, 54], 1]).min() > 0.03
        assert now[48, 0] < now[60, 0]
        assert now[64, 0] < now[54, 0]


def test_a_face_that_does_nothing_is_not_touched_near_the_mouth(head):
    resting = deform(head.vertices, {})
    ids = load_topology().landmarks[48:]
    np.testing.assert_array_equal(resting[ids], head.vertices[ids])


def test_prototypes_and_compounds_are_made_of_driven_units():
    for units in PROTOTYPES.values():
        assert set(units) <= set(TARGETS)
    for parents, units in COMPOUNDS.values():
        assert set(parents) <= set(PROTOTYPES)
        assert set(units) <= set(TARGETS)
    assert len(COMPOUNDS) == 11
