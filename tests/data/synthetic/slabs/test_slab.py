from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")

from semeia.data.synthetic.slabs.body import paint_body
from semeia.data.synthetic.slabs.kinds import KINDS, draw_long_axis, fitting
from semeia.data.synthetic.slabs.lesions import draw_form, grow
from semeia.data.synthetic.slabs.nodules import insert_nodules, lung_mask
from semeia.data.synthetic.slabs.person import THICKNESS, draw_person, draw_scan
from semeia.data.synthetic.slabs.sheet import shown_slab, slab_sheet
from semeia.data.synthetic.slabs.slab import draw_slab
from semeia.data.synthetic.slabs.tissue import Tissue
from semeia.records import SemeiaError

SIZE = 96


@pytest.fixture(scope="module")
def slabs():
    return [draw_slab(2, patient, size=SIZE) for patient in range(1, 9)]


def body(height, phase="portal"):
    person = draw_person(1, 3)
    scan = draw_scan(person, 1, size=SIZE)
    return paint_body(person, replace(scan, height=float(height), phase=phase, thickness=5.0, slices=9, planes=4))


def test_the_same_numbers_give_the_same_slab(slabs):
    again = draw_slab(2, 1, size=SIZE)
    assert (again.hu == slabs[0].hu).all()
    assert (again.healthy == slabs[0].healthy).all()
    assert again.decoys == slabs[0].decoys
    assert (draw_slab(3, 1, size=SIZE).hu.shape != slabs[0].hu.shape) or (
        draw_slab(3, 1, size=SIZE).hu != slabs[0].hu
    ).any()


def test_slices_are_hu_of_the_thickness_drawn(slabs):
    for slab in slabs:
        assert slab.hu.dtype == np.int16
        assert slab.hu.shape == (THICKNESS[slab.scan.thickness][0], SIZE, SIZE)
        assert slab.hu.min() >= -1024


def test_the_twin_differs_at_lesions_alone(slabs):
    for slab in slabs:
        different = slab.hu != slab.healthy
        assert different[slab.masks > 0].mean() > 0.5
        rows, columns = np.nonzero((slab.masks > 0).any(0))
        far = np.ones((SIZE, SIZE), bool)
        far[max(rows.min() - 12, 0) : rows.max() + 13, max(columns.min() - 12, 0) : columns.max() + 13] = False
        # The kernel of a Fourier transform has tails below one HU, which rounding shows as single steps.
        assert np.abs(slab.hu.astype(int) - slab.healthy)[:, far].max() <= 1


def test_boxes_are_padded_axes_around_the_mask_of_the_key_slice(slabs):
    for slab in slabs:
        for lesion in slab.lesions:
            low, high = lesion.axes.ends.min(0), lesion.axes.ends.max(0)
            expected = np.clip(np.concatenate([low - 5, high + 5]), 0, SIZE)
            assert lesion.box == pytest.approx(expected)
            rows, columns = np.nonzero(slab.masks[slab.key] == lesion.number)
            assert len(rows)
            assert lesion.box[0] <= columns.min()
            assert lesion.box[3] >= rows.max() + 1
            assert lesion.axes.long >= lesion.axes.short > 0
            assert 1 <= lesion.type <= 8


def test_decoys_go_through_the_slab_and_lie_apart_from_lesions(slabs):
    found = [decoy for slab in slabs for decoy in slab.decoys]
    assert len(found) >= 8
    mimicked = {kind.name for kind in KINDS if kind.mimicked}
    for slab in slabs:
        for decoy in slab.decoys:
            assert decoy.kind in mimicked
            assert decoy.slice == slab.key
            x, y = (int(v) for v in decoy.centre)
            assert slab.masks[slab.key, y, x] == 0
            assert slab.hu[slab.key, y, x] == slab.healthy[slab.key, y, x]


def test_unlabelled_lesions_come_on_top_of_labelled_ones():
    counts = [draw_slab(5, patient, size=SIZE, unlabelled=0.7).lesions for patient in range(1, 7)]
    hidden = sum(not lesion.labelled for lesions in counts for lesion in lesions)
    assert hidden >= 3
    assert all(lesions[0].labelled for lesions in counts)


def test_sizes_follow_deeplesions_percentiles():
    rng = np.random.default_rng(0)
    drawn = [draw_long_axis(rng) for _ in range(20_000)]
    assert np.percentile(drawn, (5, 25, 50, 75, 95)) == pytest.approx([5, 11, 16.5, 27, 56], rel=0.04)


def test_there_are_at_least_eight_kinds_and_all_eight_types():
    assert len(KINDS) >= 8
    assert {kind.type for kind in KINDS} == set(range(1, 9))
    for height in range(5, 541, 5):
        assert fitting(height, 16.5)


def test_each_form_is_as_long_in_its_middle_as_drawn():
    rng = np.random.default_rng(1)
    for _ in range(10):
        form = draw_form(rng, KINDS[0], 20.0, (10.0, 32.0, 32.0))
        cover = grow(form, (21, 64, 64), 1.0, 1.0)
        rows, columns = np.nonzero(cover.cover[10 - cover.window[0].start] >= 0.5)
        points = np.stack([rows, columns], 1)
        apart = np.linalg.norm(points[:, None] - points[None], axis=-1).max()
        assert apart == pytest.approx(20, abs=1.6)


def test_a_decoy_has_the_same_section_in_all_planes_and_a_lesion_ends():
    rng = np.random.default_rng(2)
    form = draw_form(rng, KINDS[0], 12.0, (10.0, 32.0, 32.0))
    lesion = grow(form, (21, 64, 64), 1.0, 1.0).cover.sum((1, 2))
    through = grow(replace(form, through=True), (21, 64, 64), 1.0, 1.0).cover.sum((1, 2))
    assert len(through) == 21
    assert through == pytest.approx(np.full(21, through.mean()), rel=0.05)
    assert lesion.max() == pytest.approx(through.mean(), rel=0.05)
    assert lesion[0] < 0.5 * lesion.max()


@pytest.mark.parametrize(
    ("height", "tissues"),
    [
        (470, (Tissue.LUNG, Tissue.BLOOD, Tissue.AIRWAY, Tissue.CORTEX, Tissue.OESOPHAGUS, Tissue.LUNG_VESSEL)),
        (410, (Tissue.HEART, Tissue.LUNG)),
        (320, (Tissue.LIVER, Tissue.SPLEEN, Tissue.FLUID, Tissue.LIVER_VESSEL, Tissue.DISC)),
        (275, (Tissue.KIDNEY, Tissue.PANCREAS, Tissue.MESENTERY, Tissue.MUSCLE)),
        (30, (Tissue.URINE, Tissue.MARROW, Tissue.POCKET, Tissue.GUT_WALL)),
    ],
)
def test_each_height_shows_its_organs(height, tissues):
    found = np.unique(body(height).tissue)
    for tissue in tissues:
        assert tissue in found


def test_contrast_brightens_blood_and_organs_together():
    native, portal = body(300, "native"), body(300, "portal")
    for tissue, least in ((Tissue.BLOOD, 60), (Tissue.LIVER, 25), (Tissue.SPLEEN, 40)):
        means = [np.median(one.hu[one.tissue == tissue]) for one in (native, portal)]
        assert means[1] - means[0] > least


def test_both_slabs_of_a_patient_show_the_same_person():
    one, two = draw_person(4, 7), draw_person(4, 7)
    assert (one.warp == two.warp).all()
    assert replace(one, warp=two.warp) == two
    assert draw_scan(one, 1) != draw_scan(one, 2)


def test_a_sheet_shows_slabs_and_twins(slabs):
    assert slab_sheet(map(shown_slab, slabs[:2]), columns=2, tile=64, twins=True).size == (128, 2 * 77)


def chest():
    slab = draw_slab(2, 3, size=SIZE, region="thorax")
    return slab.healthy, (slab.scan.spacing, slab.scan.spacing, slab.scan.thickness)


def test_nodules_are_put_into_lungs_alone():
    hu, spacing = chest()
    before = hu.copy()
    out, masks = insert_nodules(hu, spacing, np.random.default_rng(0), count=2, long_mm=(9, 16))
    assert (hu == before).all()
    assert out.dtype == hu.dtype
    assert set(np.unique(masks)) == {0, 1, 2}
    lung = lung_mask(hu, spacing)
    assert lung[masks > 0].mean() > 0.8
    assert out[masks > 0].mean() > hu[masks > 0].mean() + 300
    assert (out >= hu).all()


@pytest.mark.parametrize(
    ("hu", "spacing", "said"),
    [
        (np.zeros((4, 4), np.int16), (1, 1, 1), "expected finite HU"),
        (np.full((2, 8, 8), np.nan), (1, 1, 1), "expected finite HU"),
        (np.zeros((2, 8, 8), np.int16), (1, 2, 1), "square pixels"),
        (np.zeros((2, 8, 8), np.int16), (1, 1, 0), "square pixels"),
        (np.zeros((4, 32, 32), np.int16), (1, 1, 1), "found none"),
    ],
)
def test_what_is_no_chest_is_refused(hu, spacing, said):
    with pytest.raises(SemeiaError, match=said):
        insert_nodules(hu, spacing, np.random.default_rng(0))
