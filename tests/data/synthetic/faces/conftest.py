import dataclasses

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces import light, pack, spec, topology
from semeia.records import SemeiaError


@pytest.fixture(scope="session")
def head():
    """The packed MakeHuman head; tests that need it skip where it cannot be had."""
    try:
        return pack.load_pack()
    except SemeiaError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def upright(head):
    """A shot of a healthy person who looks straight into a camera without any action."""
    drawn = spec.sample_spec(5, 0, 0)
    person = dataclasses.replace(drawn.person, palsy=None)
    straight = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "gaze": (0.0, 0.0), "shift": (0.0, 0.0), "distance": 9.0}
    return dataclasses.replace(drawn, person=person, **straight)


@pytest.fixture(scope="session")
def landmarks_of(head):
    """Gives the 68 landmarks in pixels of a mesh as a shot sees it, 128 pixels a side."""

    def landmarks(shot, vertices=head.vertices):
        camera = light.place_camera(shot, head.vertices, 128)
        return np.asarray(camera.project(vertices[topology.load_topology().landmarks]))

    return landmarks
