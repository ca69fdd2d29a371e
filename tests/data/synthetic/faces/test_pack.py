import numpy as np
import pytest

pytest.importorskip("mitsuba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces import pack


def test_the_pack_holds_the_head_its_parts_and_all_targets(head):
    assert head.vertices.shape == (5460, 3)
    assert head.deltas.shape == (496, 5460, 3)
    assert head.quads.max() == 5459
    assert set(head.parts) == {
        "skin", "cloth", "cavity", "upper_teeth", "lower_teeth", "tongue", "lash", "eye_left", "eye_right",
    }  # fmt: skip
    assert {name[0] for name in head.index} == set("URLA")


def test_left_is_where_x_is_positive(head):
    assert (head.vertices[head.quads[head.parts == "eye_left"]][..., 0] > 0).all()
    moved = np.abs(head.delta("A/eyeBlinkLeft")).sum(1)
    assert np.average(head.vertices[:, 0], weights=moved) > 0.2


def test_a_target_file_gives_one_displacement_a_vertex(tmp_path):
    import gzip
    import zipfile

    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("plain.target", "# a comment\n2 0.5 -1 .25\n")
        archive.writestr("packed.target.gz", gzip.compress(b"0 1 2 3\n"))
    with zipfile.ZipFile(tmp_path / "w.zip") as archive:
        np.testing.assert_array_equal(
            pack._read_target(archive, "plain.target", 3), [[0] * 3, [0] * 3, [0.5, -1, 0.25]]
        )
        np.testing.assert_array_equal(pack._read_target(archive, "packed.target.gz", 2), [[1, 2, 3], [0] * 3])
