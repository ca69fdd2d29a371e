"""Whether arms differ in what they say, and in nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semeia.configurations import flat
from semeia.ledger.claims import Arm, Claim, Size
from semeia.records import SemeiaError

HELD = ("fit", "batch_size", "data")
"""Fields that no arm of any system may change: steps, seed and intervals, batch size, what batches are drawn from."""

PLACES = ("data", "test_data", "other_data", "prior")
"""Fields that name folders, or whose own fields do; only the last part of a path says what was read."""

LATER = ("affwild2", "expression_folders", "bone", "made")
"""Fields that came after the first rows: where they are not named, digests are those of before."""

UNRELATED = ("fit.out", "fit.seed", "fit.log_every", "fit.eval_every", "fit.save_every", "workers")
"""Fields that do not decide what is learned, or that the ledger sets itself."""


def digest(config: Any) -> str:
    """Ten letters that stand for all that decides a configuration's numbers, but for the seed."""
    plain = {
        name: _last_parts(value) if _below(name, PLACES) else value
        for name, value in flat(config).items()
        if name not in UNRELATED and not (value is None and name.rpartition(".")[2] in LATER)
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:10]


def _last_parts(value: Any) -> Any:
    """A folder, or several, without what stands before their names; anything else as it is."""
    if isinstance(value, tuple | list):
        return [_last_parts(item) for item in value]
    return Path(value).resolve().name if isinstance(value, str | Path) else value


def check_arm(arm: Arm, base: Any, made: Any, *, free: Sequence[str]) -> None:
    """Refuse an arm that changes more than it says, less than it says, or what must be equal.

    Args:
        arm: What it says.
        base: Configuration of the arm without changes.
        made: Its own configuration.
        free: Fields, or parts of the configuration, that arms may change.

    Raises:
        SemeiaError: It does.
    """
    before, after = flat(base), flat(made)
    changed = {name for name in before.keys() | after.keys() if before.get(name, ...) != after.get(name, ...)}
    if secret := changed - set(arm.changes):
        name = min(secret)
        raise SemeiaError(f"arm {arm.name!r}: changes {name} from {before.get(name)!r} to {after.get(name)!r} and does "
                          f"not say so; it says: {', '.join(arm.changes) or 'nothing'}")  # fmt: skip
    if arm.changes and not changed:
        raise SemeiaError(f"arm {arm.name!r}: says that it changes {', '.join(arm.changes)} and changes nothing")
    held = [name for name in sorted(changed) if _below(name, HELD) or not _below(name, free)]
    if held:
        raise SemeiaError(f"arm {arm.name!r}: changes {', '.join(held)}, which all arms share; arms may change "
                          f"{', '.join(free)}")  # fmt: skip


def _below(name: str, parts: Sequence[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def check_sizes(claim: Claim, sizes: Mapping[str, Size]) -> None:
    """Refuse a claim whose arms have unlike parameter counts and that does not say why.

    Raises:
        SemeiaError: Its counts are further apart than its tolerance.
    """
    counts = {name: sizes[name].parameters for name in claim.arms}
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    apart = counts[most] / counts[least] - 1
    if claim.matched and apart > claim.tolerance:
        raise SemeiaError(
            f"claim {claim.id}: arm {most!r} has {counts[most]:,} parameters and {least!r} {counts[least]:,}, "
            f"{100 * apart:.1f} % apart; expected at most {100 * claim.tolerance:.1f} %, or matched=False with a reason"
        )


def matched(count: Callable[[int], int], target: int) -> int:
    """The width at which a model comes nearest to ``target`` parameters, whose number grows with it.

    Args:
        count: From a width to a number of parameters.
        target: Of parameters.

    Raises:
        SemeiaError: No width does it.
    """
    low, high = 1, 2
    one, two = count(low), count(high)
    if one > target or two <= one:
        raise SemeiaError(f"no width gives {target:,} parameters: width 1 has {one:,}, width 2 {two:,}")
    while count(high) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= target else (low, middle)
    return min(low, high, key=lambda width: abs(count(width) - target))


def counted(model: Any, read: Callable[[Any], object]) -> Size:
    """Parameters of a model, and what it costs to read: products of matrices and convolutions, as torch counts them.

    Args:
        model: A module; put into evaluation mode and without gradients, which the counter would follow.
        read: Has the model read one sample.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    model = model.eval().requires_grad_(False)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        read(model)
    return Size(sum(p.numel() for p in model.parameters()), int(counter.get_total_flops()))
