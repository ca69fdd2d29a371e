"""Faces found in a real photo, in crowds, and nowhere else."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from semeia.nn.face_finder import FaceFinder, tiles
from semeia.ops.faces import five_from_68, flip_68, landmarks_68, transform_points
from semeia.records import SemeiaError

data = pytest.importorskip("skimage.data")

FIVE_BY_HAND = np.array([[202.5, 101.0], [247.0, 103.0], [223.0, 127.0], [203.0, 140.0], [245.0, 140.5]])
"""Eyes, nose tip and mouth corners of the astronaut, read off the enlarged picture by eye."""


@pytest.fixture(scope="module")
def finder():
    torch.set_num_threads(1)
    try:
        return FaceFinder()
    except SemeiaError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def astronaut():
    return data.astronaut()


@pytest.fixture(scope="module")
def face(finder, astronaut):
    (only,) = finder.find(astronaut)
    return only


def test_one_face_is_found_in_the_astronaut(face):
    box = face.box
    assert (box.x, box.y) == pytest.approx((178, 66), abs=6)
    assert (box.width, box.height) == pytest.approx((97, 109), abs=8)
    assert face.score > 0.8
    assert face.presence > 0.99
    assert face.mesh.shape == (468, 3)


def test_the_five_points_lie_where_an_eye_sees_them(face):
    five = five_from_68(landmarks_68(face.mesh))
    assert np.linalg.norm(five - FIVE_BY_HAND, axis=1).max() < 5  # of a face 97 pixels wide


def test_the_box_holds_the_mesh(face):
    low, high = face.mesh[:, :2].min(axis=0), face.mesh[:, :2].max(axis=0)
    assert [face.box.x, face.box.y, face.box.width, face.box.height] == pytest.approx([*low, *(high - low)])


def test_the_same_picture_gives_the_same_numbers(finder, astronaut, face):
    (again,) = finder.find(astronaut)
    assert again == face
    assert (again.mesh == face.mesh).all()


@pytest.mark.parametrize("angle", [-30, 45, 90])
def test_points_turn_with_the_picture(finder, astronaut, face, angle):
    turned = np.asarray(Image.fromarray(astronaut).rotate(angle, Image.Resampling.BICUBIC))
    (found,) = finder.find(turned)
    turn = math.radians(angle)
    linear = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    wanted = transform_points(np.column_stack([linear, 256 - linear @ [256, 256]]), landmarks_68(face.mesh))
    assert np.linalg.norm(landmarks_68(found.mesh) - wanted, axis=1).mean() < 4


@pytest.mark.parametrize("scale", [0.5, 3.0, 7.0])
def test_points_grow_with_the_picture(finder, astronaut, face, scale):
    side = int(512 * scale)
    (found,) = finder.find(np.asarray(Image.fromarray(astronaut).resize((side, side))))
    assert np.linalg.norm(landmarks_68(found.mesh) / scale - landmarks_68(face.mesh), axis=1).mean() < 2


def test_a_mirrored_face_has_mirrored_points(finder, astronaut, face):
    (found,) = finder.find(astronaut[:, ::-1].copy())
    mirrored = flip_68(landmarks_68(found.mesh), astronaut.shape[1])
    assert np.linalg.norm(mirrored - landmarks_68(face.mesh), axis=1).mean() < 4


def test_a_face_cut_by_the_border_is_found(finder, astronaut):
    (found,) = finder.find(astronaut[:, 205:].copy())  # about a quarter of the face is missing
    assert found.box.width > 60


def test_a_crowd_of_forty_is_found(finder, astronaut):
    head = Image.fromarray(astronaut[0:256, 96:352]).resize((200, 200))
    found = finder.find(np.tile(np.asarray(head), (5, 8, 1)))
    assert len(found) == 40
    columns = {round((f.box.x + f.box.width / 2) // 200) for f in found}
    assert columns == set(range(8))


def test_small_faces_are_found_in_tiles_of_a_large_picture(finder, astronaut):
    picture = np.full((1200, 1600, 3), 128, np.uint8)
    small = np.asarray(Image.fromarray(astronaut).resize((200, 200), Image.Resampling.LANCZOS))
    picture[700:900, 1000:1200] = small  # the face is 38 pixels wide: under 5 in the detector's view of the whole
    (found,) = finder.find(picture)
    assert (found.box.x, found.box.y) == pytest.approx((1069, 726), abs=6)


def test_faces_come_largest_first(finder, astronaut):
    picture = np.full((600, 900, 3), 128, np.uint8)
    for left, side in ((0, 200), (200, 400), (600, 300)):
        picture[:side, left : left + side] = np.asarray(Image.fromarray(astronaut).resize((side, side)))
    found = finder.find(picture)
    assert [200 < f.box.x < 600 for f in found] == [True, False, False]
    assert [f.box.width for f in found] == sorted((f.box.width for f in found), reverse=True)


@pytest.mark.parametrize("shape", [(480, 640), (1, 1), (1, 3000), (2000, 2000)])
def test_nothing_is_found_in_black(finder, shape):
    assert finder.find(np.zeros((*shape, 3), np.uint8)) == ()


@pytest.mark.parametrize("name", ["chelsea", "coffee", "brick", "text"])
def test_nothing_is_found_where_there_is_no_human_face(finder, name):
    picture = getattr(data, name)()
    picture = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
    assert finder.find(picture) == ()


def test_one_tile_is_the_square_around_the_picture():
    assert tiles(300, 200, across=1).tolist() == [[0, -50, 300]]


@pytest.mark.parametrize("across", [2, 4, 8])
@pytest.mark.parametrize("size", [(1000, 1000), (1600, 900), (900, 1600), (3000, 100)])
def test_tiles_cover_the_picture_and_overlap_by_a_quarter(size, across):
    squares = tiles(*size, across=across)
    side = squares[0, 2]
    assert side == pytest.approx(1.25 * max(size) / across)
    for axis, length in enumerate(size):
        starts = np.unique(squares[:, axis])
        assert starts[0] <= 0
        assert starts[-1] + side >= length - 1e-9
        assert (np.diff(starts) <= 0.75 * side + 1e-9).all()
