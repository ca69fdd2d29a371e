"""What is chosen for this machine."""

import pytest
import torch

from semeia.records import SemeiaError
from semeia.train import launch


def test_threads_are_shared_by_the_processes_of_a_machine(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launch.os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert launch.threads() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert launch.threads() == 1


def test_threads_obey_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert launch.threads() == 3


def test_one_process_can_train_in_one_precision_and_then_in_another():
    for precision, words in (("bf16", "bf16 mixed precision"), ("no", "float32")):
        engine = launch.accelerator(device="cpu", precision=precision)
        assert engine.mixed_precision == precision
        assert launch.describe(engine).startswith("cpu (")
        assert launch.describe(engine).endswith(f"1 process, {words}")


def test_environment_variables_of_accelerate_change_nothing(monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    engine = launch.accelerator(device="cpu", precision="no")
    assert engine.gradient_accumulation_steps == 1
    assert engine.mixed_precision == "no"


def test_bf16_is_chosen_where_the_processor_multiplies_in_it(monkeypatch):
    for abilities, expected in (({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({}, "no")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=abilities: found)
        assert launch.accelerator(device="cpu").mixed_precision == expected


@pytest.mark.parametrize("wrong", [{"device": "tpu"}, {"precision": "fp16"}])
def test_an_unknown_choice_is_refused_with_the_known_ones(wrong):
    with pytest.raises(SemeiaError, match="expected one of auto, cpu, cuda and one of auto, no, bf16"):
        launch.accelerator(**wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_not_promised():
    with pytest.raises(SemeiaError, match="'cuda' is not available here"):
        launch.accelerator(device="cuda")
