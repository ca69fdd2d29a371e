import pytest

from semeia.media.face_cards import lay_out


def test_one_face_gets_a_full_card_in_the_smallest_room(make_face):
    square = lay_out([make_face()], unit=18, size=(1000, 1000))
    assert square.full
    assert square.columns == 1
    assert square.size[0] * square.size[1] < 1.6e6
    assert not lay_out([make_face()], unit=18, size=(1000, 800)).below
    assert lay_out([make_face()], unit=18, size=(600, 1600)).below


def test_a_card_has_room_for_valence_and_arousal_where_they_were_read(make_face):
    faces = make_face(valence=None, arousal=None), make_face(valence=0.0, arousal=0.0)
    plain, felt = (lay_out([face], unit=18, size=(1000, 1000)) for face in faces)
    assert felt.heights[0] > plain.heights[0]


def test_more_faces_get_shorter_cards_and_a_crowd_none(make_face):
    assert lay_out([make_face()] * 2, unit=18, size=(1000, 1000)).full
    assert not lay_out([make_face()] * 7, unit=18, size=(1000, 1000)).full
    assert lay_out([make_face()] * 40, unit=18, size=(1000, 1000)) is None


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_the_picture_always_has_its_room(make_face, count):
    layout = lay_out([make_face()] * count, unit=18, size=(1400, 1000))
    assert layout.size[0] >= 1400
    assert layout.size[1] >= 1000
