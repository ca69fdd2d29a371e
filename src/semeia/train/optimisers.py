"""Optimisers over the parameter groups that a task names."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from semeia.task import Task

NEUTRAL = (nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
_OURS = ("named_params", "lr_scale")
_BLOCK = re.compile(r"(?:^|\.)backbone\..*?\b(?:blocks|layers|stages)\.(\d+)\.")
_BACKBONE = re.compile(r"(?:^|\.)backbone\.")


def adamw(
    task: Task,
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    layer_decay: float | None = None,
) -> dict[str, torch.optim.Optimizer]:
    """AdamW for every optimiser that ``task.phases`` names; see ``parameter_groups``.

    Args:
        task: Its ``groups`` may set ``lr_scale``, ``constant``, and any option of AdamW.
        lr: Peak rate, times a group's ``lr_scale``.
        weight_decay: Decoupled, relative to the rate.
        betas: Of the two moments.
        layer_decay: See ``parameter_groups``.
    """
    grouped = parameter_groups(task, lr=lr, weight_decay=weight_decay, layer_decay=layer_decay)
    return {name: torch.optim.AdamW(groups, lr=lr, betas=betas) for name, groups in grouped.items()}


def sgd(task: Task, *, lr: float, weight_decay: float, momentum: float = 0.9) -> dict[str, torch.optim.Optimizer]:
    """Stochastic gradient descent with momentum for every optimiser that ``task.phases`` names.

    Args:
        task: Its ``groups`` may set ``lr_scale``, ``constant``, and any option of SGD.
        lr: Peak rate, times a group's ``lr_scale``.
        weight_decay: Added to the gradient.
        momentum: Part of the last update that the next one keeps.
    """
    grouped = parameter_groups(task, lr=lr, weight_decay=weight_decay)
    return {name: torch.optim.SGD(groups, lr=lr, momentum=momentum) for name, groups in grouped.items()}


def parameter_groups(
    task: Task, *, lr: float, weight_decay: float, layer_decay: float | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Groups of parameters for every optimiser that ``task.phases`` names.

    Weight decay pulls on weight matrices and kernels only: not on biases, norms, embeddings, or parameters that are no
    layer's ``weight`` (label queries, position codes, class tokens).

    Args:
        task: Its ``groups`` may set ``lr_scale``, ``constant``, and options of the optimiser.
        lr: Peak rate, times a group's ``lr_scale``.
        weight_decay: Of what decays.
        layer_decay: Rate of a block of the module called ``backbone`` relative to the next deeper one; what stands
            above the backbone keeps the full rate (ELECTRA, BEiT). None: one rate for all.
    """
    embeddings = {
        f"{name}.{own}" if name else own
        for name, module in task.named_modules()
        if isinstance(module, NEUTRAL)
        for own, _ in module.named_parameters(recurse=False)
    }
    above = 1 + max((_depth(name, above=0) for name, _ in task.named_parameters()), default=0)
    grouped: dict[str, list[dict[str, Any]]] = {}
    for optimizer in dict.fromkeys(phase.optimizer for phase in task.phases):
        groups: dict[tuple[int, bool, int], dict[str, Any]] = {}
        for number, group in enumerate(task.groups(optimizer)):
            options = {"lr": lr, "weight_decay": weight_decay} | {k: v for k, v in group.items() if k not in _OURS}
            for name, parameter in group["named_params"]:
                decays = parameter.ndim > 1 and "weight" in name.rpartition(".")[2] and name not in embeddings
                depth = above if layer_decay is None else _depth(name, above=above)
                scale = group.get("lr_scale", 1.0) * (layer_decay or 1.0) ** (above - depth)
                own = {"params": [], "lr": options["lr"] * scale}
                own["weight_decay"] = options["weight_decay"] if decays else 0.0
                groups.setdefault((number, decays, depth), options | own)["params"].append((name, parameter))
        grouped[optimizer] = list(groups.values())
    return grouped


def _depth(name: str, *, above: int) -> int:
    """0 for what comes before the backbone's first block, i + 1 for block i, ``above`` for all else."""
    block = _BLOCK.search(name)
    if block:
        return int(block[1]) + 1
    before = _BACKBONE.search(name) and not re.search(r"\b(norm|fc_norm|head)\b", name)
    return 0 if before else above
