"""The bundled maker of twins on a real chest CT with one tumour, which nothing was trained on."""

import numpy as np
import pytest

from semeia import parts
from semeia.media.volumes import open_volume
from semeia.predict.normal import TwinMaker
from semeia.records import SemeiaError


@pytest.fixture(scope="module")
def slices():
    """The scan's three slices of the tumour, their spacing, and its mask."""
    try:
        paths = [parts.fetch(name, progress=False) for name in ("chest-ct", "chest-ct-tumour")]
    except SemeiaError as error:
        pytest.skip(f"the chest CT cannot be fetched: {error}")
    with open_volume(paths[0]) as scan, open_volume(paths[1]) as labels:
        mask = labels.slab(0, labels.shape[0] - 1) > 0
        held = np.flatnonzero(mask.any((1, 2)))
        return scan.slab(int(held[0]), int(held[-1])), scan.spacing[:2], mask[held]


def test_the_tumour_is_found_and_taken_out_and_most_stays(slices):
    hu, spacing, mask = slices
    maker = TwinMaker.load()
    assert maker.weights == "smile"
    twins, likelihood = maker.twins(hu, maker.model.config.window, spacing)
    change = np.abs(twins - hu)
    body = (hu > -300) & ~mask
    assert likelihood[mask].mean() > 0.3
    assert likelihood[body].mean() < 0.05
    assert (hu - twins)[mask].mean() > 150, "what stands in a lung where the tumour was is darker"
    assert change[body].mean() < 15
