"""How an arm of the claims of transplanted lesions is trained and measured.

few patients' lesions -> slabs with them, made once for a seed and a way -> a detector of both -> the test
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from semeia.claims import _lesions as shared
from semeia.claims.uld_transplants import MADE
from semeia.ledger.claims import Measured
from semeia.predict.transplants import Way, transplant
from semeia.recipes import uld as recipe


@dataclass(frozen=True)
class Study(recipe.Config):
    """A training of the plain detector, and what is added to its data."""

    by: Way | None = None
    """What makes lesions; None adds nothing."""
    count: int = MADE
    """Slabs that are made."""
    maker: str = "smile"
    """Weights of SMILE that paint."""


def measured(study: Study) -> Measured:
    """Make the slabs, train an arm, and read the test."""
    # Who the few are is a part of the luck that seeds are for.
    study = replace(study, data=replace(study.data, share_seed=study.fit.seed))
    config = recipe.Config(**{each.name: getattr(study, each.name) for each in fields(recipe.Config)})
    if study.by is not None:
        config = replace(config, data=replace(config.data, made=str(made(study))))
    return shared.sums_of(shared.found_by(config, recipe))


def made(study: Study) -> Path:
    """The folder of slabs of an arm and seed, beside its run; it is made where there is none."""
    assert study.by is not None
    folder = Path(study.fit.out).parent / f"made-{study.by}-{study.count}-{study.fit.seed}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        transplant(
            study.data, folder, count=study.count, way=study.by, weights=study.maker, seed=study.fit.seed, device="cpu"
        )
    return folder
