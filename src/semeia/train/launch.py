"""The machine a training runs on: device, processes, precision and threads, chosen here and nowhere else.

Works under plain ``python`` and under ``torchrun --nproc-per-node N``; no file of ``accelerate config`` is read.
"""

from __future__ import annotations

import atexit
import os

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin

from semeia.records import SemeiaError

PRECISIONS = ("auto", "no", "bf16")
DEVICES = ("auto", "cpu", "cuda")


def accelerator(*, device: str = "auto", precision: str = "auto", several_phases: bool = False) -> Accelerator:
    """Build the engine for this machine and set the number of CPU threads.

    Args:
        device: ``auto`` (the GPU where one is there), ``cpu`` or ``cuda``.
        precision: ``auto`` (bf16 where the device computes in it), ``no`` (float32) or ``bf16``.
        several_phases: Each phase reaches only a part of the parameters; several processes must then expect
            parameters without a gradient.

    Raises:
        SemeiaError: An unknown choice, or a GPU that is not there.
    """
    if precision not in PRECISIONS or device not in DEVICES:
        raise SemeiaError(
            f"device {device!r} with precision {precision!r}: expected one of {', '.join(DEVICES)} "
            f"and one of {', '.join(PRECISIONS)}"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise SemeiaError("device 'cuda' is not available here; expected auto or cpu")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if on_cpu:
        torch.set_num_threads(threads())
        if "LOCAL_RANK" in os.environ:  # or Accelerate warns and chooses by itself
            os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    # Accelerate keeps one state a process and refuses a second precision; the process group outlives this.
    AcceleratorState._reset_state()
    engine = Accelerator(
        cpu=on_cpu,
        mixed_precision=("bf16" if has_bf16(on_cpu=on_cpu) else "no") if precision == "auto" else precision,
        # The loop accumulates; an environment variable of `accelerate launch` must not do it once more.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_backend="no",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=several_phases)],
    )
    if engine.num_processes > 1:
        # A process that exits with its group's threads still running is now and then aborted.
        atexit.unregister(_leave_group)
        atexit.register(_leave_group)
    return engine


def _leave_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def describe(engine: Accelerator) -> str:
    """What was chosen, on one line."""
    n = torch.get_num_threads()
    name = torch.cuda.get_device_name(engine.device) if engine.device.type == "cuda" else f"{n} threads"
    return (
        f"{engine.device.type} ({name}), {engine.num_processes} process{'es' * (engine.num_processes > 1)}, "
        f"{'bf16 mixed precision' if engine.mixed_precision == 'bf16' else 'float32'}"
    )


def threads() -> int:
    """CPU threads for this process: ``OMP_NUM_THREADS``, or its share of the cores that it may use."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def has_bf16(*, on_cpu: bool) -> bool:
    """Whether the device multiplies in bf16 (on others it is slower than float32)."""
    if not on_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Torch 2.11 may not know the question; float32 is then the safe answer.
    abilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
