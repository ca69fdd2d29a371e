"""DeepLesion: rows come back as they were written, 1-based pixels become 0-based, and what is wrong is named."""

import csv
import io
import math
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from semeia.data.formats.deeplesion import (
    CLIPPED,
    COLUMNS,
    OUTSIDE,
    TABLE,
    TWICE,
    Finding,
    read,
    subset,
    write_masks,
    write_series,
    write_table,
)
from semeia.records import SemeiaError

HEADER = ",".join(COLUMNS)


def finding(patient=1, key_slice=5, *, middle=(30.0, 20.0), long=16.0, short=8.0, **changes):
    """A lesion whose long axis lies along x."""
    x, y = middle
    recist = np.array([[x - long / 2, y], [x + long / 2, y], [x, y - short / 2], [x, y + short / 2]])
    box = np.array([x - long / 2 - 5, y - short / 2 - 5, x + long / 2 + 5, y + short / 2 + 5])
    known = Finding(
        patient=patient, study=2, series=3, key_slice=key_slice, recist=recist, box=box, diameters=(long, short),
        location=(0.25, 0.5, 0.546692), kind=-1, noisy=False, slice_range=(3, 7), spacing=(0.859375, 0.859375, 5.0),
        size=(64, 48), window=(-177.5, 307.5), gender="F", age=71.0, split="train",
    )  # fmt: skip
    return replace(known, **changes)


def slab(count=5, value=0, size=(64, 48)):
    """Slices that hold their own number."""
    return np.stack([np.full(size[::-1], value + n, np.int16) for n in range(count)])


def lay(folder, *findings, first=3, series=True):
    write_table(folder, findings)
    for patient in {f.patient for f in findings} if series else ():
        write_series(folder, patient, 2, 3, slab(), first=first)
    return folder


def change(folder, column, value, row=1):
    """Put another value into one cell of the table."""
    rows = list(csv.reader(io.StringIO((folder / TABLE).read_text())))
    rows[row][COLUMNS.index(column)] = value
    with (folder / TABLE).open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


# ---------------------------------------------------------------------------------------------------------------------
# The format


def test_a_row_is_written_as_deeplesion_has_it(tmp_path):
    lay(tmp_path, finding(89, 37, kind=3, noisy=True, split="test"), series=False)
    header, row = (tmp_path / TABLE).read_text().splitlines()
    assert header == HEADER
    assert header.count(",") == 17
    assert row == (
        '000089_02_03_037.png,89,2,3,37,"23, 21, 39, 21, 31, 17, 31, 25","18, 12, 44, 30","16, 8",'
        '"0.25, 0.5, 0.546692",3,1,"3, 7","0.859375, 0.859375, 5","64, 48","-177.5, 307.5",F,71,3'
    )


def test_one_is_subtracted_from_boxes_and_axes(tmp_path):
    lay(tmp_path, finding())
    change(tmp_path, "Bounding_boxes", "18.5, 12, 44.25, 30")
    key = read(tmp_path).keys[0]
    np.testing.assert_array_equal(key.findings[0].box, [17.5, 11, 43.25, 29])
    np.testing.assert_array_equal(key.findings[0].recist, [[22, 20], [38, 20], [30, 16], [30, 24]])


def test_written_findings_come_back(tmp_path):
    wanted = [finding(1), finding(2, 6, middle=(21.123, 17.4567), gender=None, age=math.nan, kind=8)]
    for found, given in zip(read(lay(tmp_path, *wanted)).findings, wanted, strict=True):
        for name in (f.name for f in fields(Finding)):
            one, other = getattr(found, name), getattr(given, name)
            assert (
                np.allclose(one, other, rtol=1e-5, equal_nan=True) if name in ("recist", "box", "age") else one == other
            )


def test_write_read_write_gives_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    findings = []
    for i in range(60):
        long, short = rng.uniform(9, 14), rng.uniform(2, 9)
        findings.append(finding(
            i // 3 + 1, int(rng.integers(3, 8)), middle=rng.uniform((16, 14), (48, 34)), long=long, short=short,
            location=tuple(rng.random(3)), age=float(rng.choice([62, 157, math.nan])), window=(-1500, 500),
            spacing=(0.703125, 0.703125, float(rng.choice([1, 2.5, 5, math.nan, -1]))),
        ))  # fmt: skip
    data = read(lay(tmp_path / "a", *findings))
    write_table(tmp_path / "b", data.findings)
    assert (tmp_path / "a" / TABLE).read_bytes() == (tmp_path / "b" / TABLE).read_bytes()
    (tmp_path / "a/Images_png").rename(tmp_path / "b/Images_png")
    again = read(tmp_path / "b")
    for one, other in zip(data.findings, again.findings, strict=True):
        np.testing.assert_array_equal(one.box, other.box)
        np.testing.assert_array_equal(one.recist, other.recist)
    assert [key.name for key in data.keys] == [key.name for key in again.keys]
    assert data.warnings == {}


def test_slices_are_16_bit_png_of_hu_plus_32768(tmp_path):
    hu = np.array([[[-32768, -1024], [0, 32767]]], np.int16)
    write_series(tmp_path, 1, 2, 3, hu, first=88, images="Healthy_png")
    with Image.open(tmp_path / "Healthy_png/000001_02_03/088.png") as picture:
        assert picture.mode.startswith("I")
        np.testing.assert_array_equal(np.array(picture), [[0, 31744], [32768, 65535]])
    assert [path.name for path in (tmp_path / "Healthy_png").iterdir()] == ["000001_02_03"]


def test_rows_of_one_file_are_lesions_of_one_key_slice(tmp_path):
    a, b, c = finding(1, 5), finding(1, 6), finding(1, 5, middle=(40.0, 30.0))
    data = read(lay(tmp_path, a, b, c))
    assert [(key.slice, len(key.findings)) for key in data.keys] == [(5, 2), (6, 1)]
    assert [f.key_slice for f in data.findings] == [5, 6, 5]
    key = data.keys[0]
    assert (key.name, key.series.name, key.patient, key.split) == ("000001_02_03/005", "000001_02_03", 1, "train")
    assert (key.spacing, key.interval, key.window, key.location) == ((0.859375, 0.859375), 5, (-177.5, 307.5), 0.546692)
    np.testing.assert_array_equal(key.boxes, [[17, 11, 43, 29], [27, 21, 53, 39]])
    assert key.boxes.dtype == np.float32
    assert data.keys[1].series is key.series


def test_a_series_lists_its_slices_with_gaps_and_reads_hu(tmp_path):
    lay(tmp_path, finding())
    write_series(tmp_path, 1, 2, 3, slab(2, value=-1000), first=20)
    (tmp_path / "Images_png/000001_02_03/notes.txt").write_text("x")
    series = read(tmp_path).keys[0].series
    assert series.numbers.tolist() == [3, 4, 5, 6, 7, 20, 21]
    assert series.read(4).dtype == np.int16
    assert (series.read(4) == 1).all()
    assert (series.read(21) == -999).all()


def test_splits_and_noisy_rows_are_chosen(tmp_path):
    rows = [finding(1), finding(2, split="val"), finding(3, split="test", noisy=True), finding(4, split="test")]
    lay(tmp_path, *rows)
    assert [key.patient for key in read(tmp_path).keys] == [1, 2, 4]
    assert [key.patient for key in read(tmp_path, split="test").keys] == [4]
    assert [key.patient for key in read(tmp_path, split="test", noisy="keep").keys] == [3, 4]


def test_line_ends_and_a_byte_order_mark_change_nothing(tmp_path):
    lay(tmp_path, finding(1), finding(2))
    text = (tmp_path / TABLE).read_text()
    (tmp_path / TABLE).write_text("\ufeff" + text.replace("\n", "\r\n") + "\r\n", newline="")
    assert len(read(tmp_path)) == 2


def test_odd_ages_intervals_and_genders_are_kept(tmp_path):
    lay(tmp_path, finding(1), finding(2), finding(3))
    change(tmp_path, "Patient_age", "157", 1)
    change(tmp_path, "Patient_age", "", 2)
    change(tmp_path, "Patient_gender", "", 2)
    change(tmp_path, "Spacing_mm_px_", "0.8, 0.8, NaN", 3)
    one, two, three = read(tmp_path).findings
    assert one.age == 157
    assert math.isnan(two.age)
    assert two.gender is None
    assert math.isnan(three.spacing[2])


def test_odd_boxes_and_repeated_rows_are_counted(tmp_path):
    near = finding(2)
    clipped = replace(near, box=near.box + np.array([0.5, 0, 0, 0]))
    lay(tmp_path, finding(1), clipped, finding(3, middle=(10.0, 20.0)), finding(1))
    data = read(tmp_path)
    assert data.warnings == {CLIPPED: 1, OUTSIDE: 1, TWICE: 1}
    assert len(data.findings) == 3
    assert data.keys[2].findings[0].box[0] == -3
    assert data.keys[2].boxes[0, 0] == 0


def test_rounding_of_the_table_is_not_odd(tmp_path):
    lay(tmp_path, finding(1, middle=(30.00049, 20.00051)))
    assert read(tmp_path).warnings == {}


# ---------------------------------------------------------------------------------------------------------------------
# What is wrong


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("Bounding_boxes", "44, 12, 18, 30", "not inverted, found 44, 12, 18, 30"),
        ("Bounding_boxes", "18, 30, 44, 30", "not inverted"),
        ("Bounding_boxes", "18, 12, NaN, 30", "finite numbers in Bounding_boxes"),
        ("Bounding_boxes", "18, 12, 44", "4 numbers in Bounding_boxes"),
        ("Bounding_boxes", "18, 12, 4_4, 30", "4 numbers"),
        ("Bounding_boxes", "18, 12, 144, 30", "a box inside 64 x 48"),
        ("Measurement_coordinates", "23, 21, inf, 21, 31, 17, 31, 25", "finite numbers"),
        ("Measurement_coordinates", "23, 21, 70, 21, 31, 17, 31, 25", "axes inside 64 x 48"),
        ("Measurement_coordinates", "x", "8 numbers"),
        ("Lesion_diameters_Pixel_", "8, 16", "a long axis no shorter"),
        ("Lesion_diameters_Pixel_", "16, NaN", "a long axis no shorter"),
        ("File_name", "000001_02_03_5.png", "a name such as"),
        ("File_name", "../../etc/passwd", "a name such as"),
        ("Patient_index", "2", "the 1 of 000001_02_03_005.png"),
        ("Key_slice_index", "6", "the 5 of"),
        ("Coarse_lesion_type", "0", "-1 or 1 to 8"),
        ("Coarse_lesion_type", "9", "from -1 to 8"),
        ("Possibly_noisy", "2", "from 0 to 1"),
        ("Slice_range", "3", "2 numbers"),
        ("Spacing_mm_px_", "0, 0.8, 5", "millimetres a pixel"),
        ("Spacing_mm_px_", "NaN, 0.8, 5", "millimetres a pixel"),
        ("Image_size", "64.5, 48", "2 whole numbers"),
        ("Image_size", "1e12, 48", "from 1 to 4096"),
        ("Image_size", "NaN, 48", "from 1 to 4096"),
        ("Patient_gender", "female", "F, M or nothing"),
        ("Patient_age", "old", "1 number"),
        ("Train_Val_Test", "4", "from 1 to 3"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(tmp_path, column, value, told):
    lay(tmp_path, finding(1), finding(2))
    change(tmp_path, column, value)
    with pytest.raises(SemeiaError, match="line 2: expected") as error:
        read(tmp_path)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_another_header_is_refused(tmp_path):
    lay(tmp_path, finding())
    text = (tmp_path / TABLE).read_text()
    for wrong in (text.replace("Bounding_boxes", "Boxes"), text.replace(",Train_Val_Test", ""), "", "\n\n"):
        (tmp_path / TABLE).write_text(wrong)
        with pytest.raises(SemeiaError, match="line 1: expected the 18 columns"):
            read(tmp_path)


def test_a_row_with_too_few_cells_and_one_that_is_no_text_are_refused(tmp_path):
    lay(tmp_path, finding())
    whole = (tmp_path / TABLE).read_bytes()
    (tmp_path / TABLE).write_bytes(whole[: len(whole) - 12])
    with pytest.raises(SemeiaError, match="line 2: expected 18 cells, found 15"):
        read(tmp_path)
    (tmp_path / TABLE).write_bytes(whole.replace(b"-177.5", b"\xff\xfe"))
    with pytest.raises(SemeiaError, match="none that can be read"):
        read(tmp_path)
    (tmp_path / TABLE).write_bytes(whole + b'1,"' + b"9" * 200_000)
    with pytest.raises(SemeiaError, match="field larger"):
        read(tmp_path)
    with pytest.raises(SemeiaError, match="No such file"):
        read(tmp_path / "nowhere")


def test_a_patient_of_two_splits_is_refused(tmp_path):
    lay(tmp_path, finding(1), finding(2), finding(1, 6, split="test"))
    with pytest.raises(
        SemeiaError, match="line 4: expected every patient in one split, found 1 in 'test' and, in line 2"
    ):
        read(tmp_path, split="train")


def test_rows_of_one_slice_with_other_sizes_are_refused(tmp_path):
    lay(tmp_path, finding(), finding(middle=(40.0, 30.0), size=(128, 128)))
    with pytest.raises(SemeiaError, match="one size and spacing"):
        read(tmp_path)


def test_missing_key_slices_are_named_or_skipped(tmp_path):
    lay(tmp_path, finding(1), finding(1, 9), finding(2))
    (tmp_path / "Images_png/000002_02_03/005.png").unlink()
    with pytest.raises(SemeiaError, match=r"000001_02_03/009.png: not found; .* 2 of 3 are missing"):
        read(tmp_path)
    data = read(tmp_path, missing="skip")
    assert [key.name for key in data.keys] == ["000001_02_03/005"]
    assert data.findings == data.keys[0].findings
    lay(tmp_path / "none", finding(), series=False)
    with pytest.raises(SemeiaError, match="expected key slices, found none"):
        read(tmp_path / "none", missing="skip")
    with pytest.raises(SemeiaError, match="expected key slices of split 'val', found none"):
        read(tmp_path, split="val", missing="skip")


def test_a_damaged_slice_is_named_when_it_is_read(tmp_path):
    key = read(lay(tmp_path, finding())).keys[0]
    path = key.series.path(5)
    whole = path.read_bytes()

    def refuses(told):
        with pytest.raises(SemeiaError, match=told) as error:
            key.series.read(5)
        assert str(path) in str(error.value)

    for damage in (whole[:-30], whole[:60], whole[:20], b"", b"GIF89a" + whole, whole[:45] + bytes(40) + whole[85:]):
        path.write_bytes(damage)
        refuses("cannot be decoded")
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(path)
    refuses("grey PNG of 16 bits, found mode 'L'")
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path)
    refuses("grey PNG of 16 bits, found mode 'RGB'")
    Image.fromarray(np.zeros((48, 65), np.uint16)).save(path)
    refuses("expected 64 x 48 pixels, as the table says, found 65 x 48")
    path.unlink()
    refuses("not found")


def test_slices_of_another_type_and_numbers_that_are_none_are_not_written(tmp_path):
    for wrong in (np.zeros((2, 3, 4)), np.zeros((3, 4), np.int16), np.zeros((0, 3, 4), np.int16)):
        with pytest.raises(SemeiaError, match="expected slices"):
            write_series(tmp_path, 1, 1, 1, wrong, first=0)
    with pytest.raises(SemeiaError, match="expected masks"):
        write_masks(tmp_path, 1, 1, 1, np.zeros((1, 2, 2), np.int16), first=0)
    with pytest.raises(SemeiaError, match="first slice from 0"):
        write_series(tmp_path, 1, 1, 1, slab(), first=-1)
    with pytest.raises(SemeiaError, match="in finite numbers"):
        write_table(tmp_path, [finding(), finding(box=np.array([1, 2, np.nan, 4]))])
    assert not (tmp_path / TABLE).exists()


def test_a_series_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    calls = []

    def fails(path, content):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        path.write_bytes(content)

    monkeypatch.setattr("semeia.data.formats.slice_files.write_whole", fails)
    with pytest.raises(KeyboardInterrupt):
        write_series(tmp_path, 1, 2, 3, slab(), first=3)
    assert list((tmp_path / "Images_png").iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------------
# Subsets


def test_subsets_take_patients_and_lie_in_one_another(tmp_path):
    rows = [finding(p, s, split="train" if p <= 20 else "test") for p in range(1, 25) for s in range(3, 4 + p % 3)]
    data = read(lay(tmp_path, *rows))

    def patients(found, split="train"):
        return {key.patient for key in found.keys if key.split == split}

    sizes = [patients(subset(data, share=share, seed=4)) for share in (0.05, 0.1, 0.25, 0.5, 1.0)]
    assert [len(found) for found in sizes] == [1, 2, 5, 10, 20]
    assert all(small < large for small, large in pairwise(sizes))
    assert patients(subset(data, patients=5, seed=4)) == sizes[2]
    assert patients(subset(data, patients=5, seed=5)) != sizes[2]
    small = subset(data, patients=5, seed=4)
    assert patients(small, "test") == {21, 22, 23, 24}
    assert {f.patient for f in small.findings} == patients(small) | {21, 22, 23, 24}
    assert [key.name for key in small.keys] == [
        key.name for key in data.keys if key.patient in patients(small) | {21, 22, 23, 24}
    ]
    some = subset(data, images=11, seed=4)
    count = [
        sum(key.split == "train" for key in found.keys)
        for found in (some, subset(data, patients=len(patients(some)) - 1, seed=4))
    ]
    assert count[0] >= 11 > count[1]


def test_a_subset_needs_one_size(tmp_path):
    data = read(lay(tmp_path, finding()))
    for wrong in (
        {},
        {"share": 0.5, "patients": 1},
        {"share": 0.0},
        {"share": 1.5},
        {"patients": 0},
        {"share": math.nan},
    ):
        with pytest.raises(SemeiaError, match="expected one of share"):
            subset(data, **wrong)
