"""What one pass costs beside five."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from semeia.systems import qface

TINY = qface.Config(image_size=32, taps=(0, 1, 2), backbone_width=48, backbone_depth=3, width=48, heads=4, hidden=64)


def test_five_models_cost_more_operations_than_one_and_one_more_task_hardly_any():
    spec = spec_from_file_location("qface_tasks", Path(__file__).parents[2] / "benchmarks" / "qface_tasks.py")
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    text = script.compare(TINY, batch=1, rounds=4)
    ratio = {row.split("|")[1].strip(): float(row.split("|")[5]) for row in text.splitlines() if row.count("|") == 6
             and re.search(r"\d", row.split("|")[5])}  # fmt: skip
    assert ratio["Q-Face, all five tasks"] == 1
    assert ratio["five single-task models"] > 1.5
    assert 1 < ratio["Q-Face with one more task"] < 1.02
    assert all(ratio[f"{task} alone"] < 1 for task in qface.TASKS)
