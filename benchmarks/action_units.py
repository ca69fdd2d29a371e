"""Action units of the same test images read by ALGRNet, MGRR-Net and Q-Face.

    python benchmarks/action_units.py --data worlds/faces --weights algrnet mgrrnet qface --out action_units.json

Weights are bundled names or checkpoint folders, which say which system they are of. Every network reads every image in
an aligned crop by the labelled landmarks, of its own size and margin. All numbers are over the units that all networks
know. Presence is intensity 2 or more, decided at the thresholds that each checkpoint stores.

Side F1 takes both sides of all faces together. ALGRNet and MGRR-Net store for each unit the intensity from which a side
counts as present, chosen by F1; Q-Face stores none and is decided at 2, which is harder. "Side F1, all decided at 2"
treats all alike, and the ICC of the sides' intensity decides nothing.

Intervals are 95 %, from a bootstrap over identities. Differences are paired: each draw of identities is read by both.
They tell the luck of the test, not of the training, of which there is one a network.

Shapes      n images   N units   2 sides (the subject's left, right)   K networks   M measures
            G groups of units
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semeia import checkpoint
from semeia.data.formats.face_files import Faces
from semeia.evaluate import BP4D, MEAN_BP4D, read_split
from semeia.face_sets import FaceData, data_flags, open_split
from semeia.files import check_writable, write_whole
from semeia.metrics import faces as metrics
from semeia.records import PRESENT, SemeiaError
from semeia.systems import qface
from semeia.unit_networks import load_network
from semeia.unit_scores import one_a_side, read_units, side_presence

MEASURES = ("F1", "side F1", "side F1, all decided at 2", "intensity ICC(3,1)", "side intensity ICC(3,1)")
IN_UNITS = ("F1", "side F1", "intensity ICC(3,1)")
"""Measures that the table of units shows."""
REFERENCE = "qface"


@dataclass(frozen=True)
class Reading:
    """What a network said of all images, and what is so; NaN where unlabelled."""

    name: str
    system: str
    crop: str
    """Size and margin, in words."""
    units: tuple[str, ...]
    people: np.ndarray
    """(n,) identities."""
    occurs: np.ndarray
    """(n, N) 0 or 1; ``present`` is what was said."""
    present: np.ndarray
    sides: np.ndarray
    """(n, N, 2) intensities; ``said_sides`` are those that were said, ``shown`` whether a side counts as present."""
    said_sides: np.ndarray
    shown: np.ndarray
    intensity: np.ndarray
    """(n, N); ``said_intensity`` is what was said."""
    said_intensity: np.ndarray

    def of(self, units: Sequence[str]) -> Reading:
        """The same for some of its units."""
        at = [self.units.index(unit) for unit in units]
        names = ("occurs", "present", "sides", "said_sides", "shown", "intensity", "said_intensity")
        return Reading(
            self.name, self.system, self.crop, tuple(units), self.people,
            **{name: getattr(self, name)[:, at] for name in names},
        )  # fmt: skip

    def measure(self, i: np.ndarray) -> np.ndarray:
        """Each of ``MEASURES`` on the images ``i``, (M, N)."""
        true_sides = side_presence(self.sides[i])
        f1 = [
            metrics.binary_f1(metrics.binary_counts(truth, said))
            for truth, said in (
                (self.occurs[i], self.present[i]),
                (true_sides, one_a_side(self.shown[i])),
                (true_sides, one_a_side(self.said_sides[i] >= PRESENT)),
            )
        ]
        icc = [
            metrics.icc_3_1(self.intensity[i], self.said_intensity[i]),
            metrics.icc_3_1(one_a_side(self.sides[i]), one_a_side(self.said_sides[i])),
        ]
        return np.stack([*f1, *icc])


def read(weights: str, folders: Sequence[Faces], *, name: str, limit: int | None) -> Reading:
    """Load a network and let it read the split ``test``.

    Raises:
        SemeiaError: The weights do not exist, do not fit, or are of a system that reads no action units.
    """
    system = checkpoint.system_of(weights)
    if system == REFERENCE:
        model, _ = checkpoint.load(weights, system=system, kind=qface.Config, build=qface.build, later=qface.ADDED)
        truth, answer, people = read_split(model, folders, split="test", limit=limit, batch_size=64)
        unit_threshold, margin = model.calibration.unit_threshold, model.config.margin_aligned
        side_threshold = np.full(len(model.config.action_units), float(PRESENT))
    else:
        model, _ = load_network(weights)
        truth, answer, people = read_units(model, folders, split="test", limit=limit)
        unit_threshold, margin = model.unit_threshold, model.config.margin
        side_threshold = model.side_threshold.numpy()
    return Reading(
        name, system, f"{model.config.image_size} pixels, margin {margin:g}", model.config.action_units, people,
        occurs=truth["au_occurrence"], present=answer["au_probability"] >= unit_threshold.numpy(),
        sides=truth["au_sides"], said_sides=answer["au_sides"],
        shown=answer["au_sides"] >= side_threshold[:, None],
        intensity=truth["au_intensity"], said_intensity=answer["au_intensity"],
    )  # fmt: skip


def names_of(weights: Sequence[str]) -> list[str]:
    """A name for each network: its system, or its weights where two are of one system."""
    systems = [checkpoint.system_of(each) for each in weights]
    return [s if systems.count(s) == 1 else w for s, w in zip(systems, weights, strict=True)]


# ---------------------------------------------------------------------------------------------------------------------
# Means and differences


def groups_of(units: Sequence[str]) -> dict[str, list[int]]:
    """Which columns each mean is over."""
    known = set(BP4D) <= set(units)
    twelve = {MEAN_BP4D: [list(units).index(unit) for unit in BP4D]} if known else {}
    return twelve | {f"mean of all {len(units)}": list(range(len(units)))}


def means(readings: Sequence[Reading], *, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and what each has more than Q-Face, (K, M, G, 3): value and ends; all NaN where Q-Face is not there."""
    groups = groups_of(readings[0].units).values()
    reference = reference_of(readings)

    def both(i: np.ndarray) -> np.ndarray:
        measured = np.stack([reading.measure(i) for reading in readings])  # (K, M, N)
        each = np.stack([np.apply_along_axis(metrics.mean_known, -1, measured[..., of]) for of in groups], -1)
        return np.stack([each, each - (np.nan if reference is None else each[reference])])  # (2, K, M, G)

    people = readings[0].people
    values = both(np.arange(len(people)))
    low = high = np.full_like(values, np.nan)
    if rounds:
        low, high = metrics.bootstrap(both, people, seed=0, rounds=rounds)
    first, second = np.stack([values, low, high], -1)
    return first, second


def reference_of(readings: Sequence[Reading]) -> int | None:
    """The place of Q-Face."""
    return next((k for k, reading in enumerate(readings) if reading.system == REFERENCE), None)


def mean_table(readings: Sequence[Reading], *, rounds: int) -> tuple[str, list[dict[str, Any]]]:
    """The means as Markdown and as plain values: a row for each measure and group of units."""
    values, apart = means(readings, rounds=rounds)
    names, reference = [reading.name for reading in readings], reference_of(readings)
    others = [] if reference is None else [k for k in range(len(names)) if k != reference]
    heads = names + [f"{names[k]} - {names[reference or 0]}" for k in others]
    lines = [f"| measure | units | {' | '.join(heads)} |", f"|---|---|{'---|' * len(heads)}"]
    kept: list[dict[str, Any]] = []
    for m, measure in enumerate(MEASURES):
        for g, group in enumerate(groups_of(readings[0].units)):
            cells = [*values[:, m, g], *apart[others, m, g]]
            words = [interval(cell, sign="+" * (c >= len(names))) for c, cell in enumerate(cells)]
            lines.append(f"| {measure} | {group} | {' | '.join(words)} |")
            numbers = {head: [plain(x) for x in cell] for head, cell in zip(heads, cells, strict=True)}
            kept.append({"measure": measure, "units": group, "value, low, high": numbers})
    return "\n".join(lines), kept


def interval(cell: np.ndarray, *, sign: str) -> str:
    """Value and ends (3,) in words."""
    value, low, high = cell
    if np.isnan(value):
        return "-"
    return f"{value:{sign}.3f}" + ("" if np.isnan(low) else f" ({low:{sign}.3f} to {high:{sign}.3f})")


def plain(value: float) -> float | None:
    """A number of a JSON file; None where it does not exist."""
    return None if np.isnan(value) else float(value)


def unit_table(readings: Sequence[Reading]) -> tuple[str, list[dict[str, Any]]]:
    """A row a unit, as Markdown and as plain values."""
    every = np.arange(len(readings[0].people))
    each = np.stack([reading.measure(every) for reading in readings], 1)  # (M, K, N)
    positives = np.nansum(readings[0].occurs, 0)
    heads = [f"{measure}, {reading.name}" for measure in MEASURES for reading in readings]
    shown = [MEASURES.index(measure) * len(readings) + k for measure in IN_UNITS for k in range(len(readings))]
    lines = [f"| unit | with it | {' | '.join(heads[c] for c in shown)} |", f"|---|---|{'---|' * len(shown)}"]
    kept = []
    for j, unit in enumerate(readings[0].units):
        cells = each[..., j].ravel()
        row = ("-" if np.isnan(cells[c]) else f"{cells[c]:.3f}" for c in shown)
        lines.append(f"| {unit} | {positives[j]:.0f} | {' | '.join(row)} |")
        kept.append({"unit": unit, "with it": int(positives[j])} | dict(zip(heads, map(plain, cells), strict=True)))
    return "\n".join(lines), kept


def compare(data: FaceData, weights: Sequence[str], *, limit: int | None, rounds: int) -> tuple[str, dict[str, Any]]:
    """Read and compare: Markdown, and plain values.

    Raises:
        SemeiaError: Data or weights that cannot be read, or networks that share no unit.
    """
    folders = open_split(data, "test")
    names = names_of(weights)
    whole = [read(each, folders, name=name, limit=limit) for each, name in zip(weights, names, strict=True)]
    units = [unit for unit in whole[0].units if all(unit in reading.units for reading in whole)]
    if not units:
        raise SemeiaError(f"{', '.join(names)}: expected networks that share action units, found none they share")
    readings = [reading.of(units) for reading in whole]
    people = readings[0].people
    about = [
        f"{len(people):,} images of {len(set(people))} persons, split test of {data_flags(data)}; {len(units)} units",
        *(f"- {reading.name}: {reading.crop}, knows {len(before.units)} units" for reading, before in
          zip(readings, whole, strict=True)),
    ]  # fmt: skip
    first, of_means = mean_table(readings, rounds=rounds)
    second, of_units = unit_table(readings)
    facts = {"data": data_flags(data), "images": len(people), "persons": len(set(people)), "rounds": rounds}
    return "\n".join([*about, "", first, "", second]), facts | {"means": of_means, "units": of_units}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="FOLDER", help="faces with a test split")
    parser.add_argument("--weights", nargs="+", default=["algrnet", "mgrrnet", "qface"], metavar="WEIGHTS")
    parser.add_argument("--limit", type=int, metavar="N", help="read N images alone, at even steps through the split")
    parser.add_argument("--rounds", type=int, default=1000, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers as JSON too")
    args = parser.parse_args(arguments)
    if args.out:
        check_writable(args.out)
    text, kept = compare(FaceData(faces=tuple(args.data)), args.weights, limit=args.limit, rounds=args.rounds)
    print(text)
    if args.out:
        write_whole(args.out, (json.dumps(kept, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
