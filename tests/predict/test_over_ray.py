"""Annotation over Ray, on this machine."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from semeia.predict import over_ray

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs():
    """What the tests of whole runs are made of."""
    spec = importlib.util.spec_from_file_location("annotate_runs", Path(__file__).with_name("test_annotate.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["annotate_runs"] = module
    spec.loader.exec_module(module)
    # Workers cannot import a test.
    ray.cloudpickle.register_pickle_by_value(module)
    yield module
    ray.cloudpickle.unregister_pickle_by_value(module)


def test_ray_makes_what_one_process_makes_and_tells_what_stopped_it(runs, tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    for number in range(8):
        (place / f"{number}.png").write_bytes(runs.picture(number))
    alone = runs.go(place, tmp_path / "alone")
    report = runs.go(place, tmp_path / "out", spread=None, workers=1)
    assert report.statuses == alone.statuses
    name = "llava_captions.json"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    with pytest.raises(runs.SemeiaError, match="endpoint is gone"):
        runs.go(place, tmp_path / "gone", spread=None, workers=1, annotators=[runs.Fake("gone")])


@pytest.mark.parametrize(
    ("address", "token", "mode", "then"),
    [
        ("auto", True, "", "token"),
        ("auto", True, "disabled", "disabled"),
        ("auto", False, "", None),
        (None, True, "", None),
    ],
)
def test_a_cluster_is_shown_the_token_that_it_asks_for(address, token, mode, then, tmp_path):
    if token:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").touch()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"HOME": str(tmp_path), "RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": ""}.items():
            patch.setenv(name, value)
        if not mode:
            patch.delenv("RAY_AUTH_MODE")
        over_ray.prepare(address)
        assert os.environ.get("RAY_AUTH_MODE") == then
