"""A killed and resumed training ends bit for bit like one that ran through: with data workers, and with two ranks."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from semeia.train import state

SCRIPT = Path(__file__).with_name("line.py")
SRC = Path(__file__).parents[2] / "src"
FILES = ("model.safetensors", "ema.safetensors", "optimizers.safetensors")


def start(out, *names, ranks=1, **environment):
    """Run ``line.py`` and return its exit status; pipes would wait for the workers that a killed process leaves."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    path = os.pathsep.join(filter(None, [str(SRC), os.environ.get("PYTHONPATH")]))
    out.mkdir(exist_ok=True)
    with (out / "output.txt").open("w") as output:
        return subprocess.run(
            [sys.executable, *(torchrun if ranks > 1 else []), str(SCRIPT), str(out), *names],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path} | environment,
            stdout=output,
            stderr=output,
            check=False,
            timeout=120,
        ).returncode


def contents(run):
    return {name: (state.latest(run) / name).read_bytes() for name in FILES}


@pytest.mark.slow
def test_killed_with_two_data_workers_it_resumes_bit_for_bit(tmp_path):
    assert start(tmp_path / "killed", "noisy", WORKERS="2", KILL_AT="7") == -signal.SIGKILL
    assert state.latest(tmp_path / "killed" / "noisy").name == "step-00000006"
    assert start(tmp_path / "killed", "noisy", WORKERS="2") == 0, (tmp_path / "killed" / "output.txt").read_text()
    # Without workers: they change nothing either.
    assert start(tmp_path / "whole", "noisy") == 0
    assert contents(tmp_path / "killed" / "noisy") == contents(tmp_path / "whole" / "noisy")


@pytest.mark.slow
def test_two_ranks_resume_bit_for_bit_and_equal_one_rank(tmp_path):
    assert start(tmp_path / "whole", "noisy", "plain", ranks=2) == 0, (tmp_path / "whole" / "output.txt").read_text()
    assert start(tmp_path / "killed", "noisy", ranks=2, KILL_AT="7") != 0
    assert state.latest(tmp_path / "killed" / "noisy").name == "step-00000006"
    assert start(tmp_path / "killed", "noisy", ranks=2) == 0, (tmp_path / "killed" / "output.txt").read_text()
    assert contents(tmp_path / "killed" / "noisy") == contents(tmp_path / "whole" / "noisy")

    assert start(tmp_path / "alone", "plain") == 0
    one, two = (load_file(state.latest(tmp_path / run / "plain") / FILES[0]) for run in ("alone", "whole"))
    torch.testing.assert_close(two["f.weight"], one["f.weight"])
