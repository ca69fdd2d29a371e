"""The protocol of three folds of BP4D and DISFA, run from end to end on rendered faces.

    python benchmarks/three_folds.py --data worlds/faces --out runs/folds --scale smoke

Lays rendered faces out as BP4D and as DISFA, as ``semeia make bp4d`` and ``semeia make disfa`` do. Then each network
learns BP4D's twelve units on each of three folds, and from that checkpoint DISFA's eight, as docs/systems/algrnet.md
says. The tables show F1 on the test part of each fold and the mean over folds. A run that was stopped goes on where it
was, and what is done is not done again.

What this shows is that the protocol runs, and what a recipe learns from so little; not what a network reads in people.
Layouts hold a fixed list of persons, 41 and 27: a world with few shots of each fills them with few pictures. One with
many shots suits better: ``semeia make faces worlds/recorded --policy natural --shots 60 --count 2460``. Both data
sets are the first persons of the same world, and a person is in the same part of both: no network is tested on
somebody that it started from, but DISFA brings no new persons either, as it does in fact.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from semeia.data.formats import bp4d, disfa
from semeia.data.synthetic.as_layout import write_layout
from semeia.evaluate import Score
from semeia.face_sets import FaceData
from semeia.files import write_whole
from semeia.metrics.faces import mean_known
from semeia.unit_networks import NETWORKS

UNITS = {"bp4d": bp4d.UNITS, "disfa": disfa.PROTOCOL}
"""What is learned of each data set, in the order in which they are."""
TITLES = {"bp4d": "BP4D's layout", "disfa": "DISFA's layout, started from BP4D's"}
FOLDS = (1, 2, 3)
SCALES = ("smoke", "small", "paper")


def lay_out(layout: str, source: str, out: Path, *, count: int | None) -> Path:
    """The folder of a data set, written where it is not there yet."""
    folder, part = out / layout, out / f".{layout}.part"
    if not folder.is_dir():
        shutil.rmtree(part, ignore_errors=True)
        images = write_layout(layout, source, part, count=count)
        part.rename(folder)
        print(f"{layout}: {images} images", flush=True)
    return folder


def configured(network: str, layout: str, folder: Path, *, scale: str, fold: int, out: Path) -> Any:
    """The recipe's configuration: its scale, the units of the protocol, the whole test part."""
    config = import_module(f"semeia.recipes.{network}").SCALES[scale]()
    return replace(
        config,
        data=FaceData(**{layout: str(folder)}, fold=fold),  # type: ignore[arg-type]
        model=replace(config.model, action_units=UNITS[layout]),
        test=None,
        rounds=0,
        fit=replace(config.fit, out=str(out)),
    )


def learn(network: str, config: Any) -> dict[str, float]:
    """Train where that is not done yet; F1 of each unit on the test part."""
    out, start = Path(config.fit.out), time.perf_counter()
    scores = out / "scores.json"
    if not scores.is_file():
        import_module(f"semeia.recipes.{network}").train(config)
        print(f"{out.name}: {time.perf_counter() - start:.0f} s", flush=True)
    rows = [Score(**row) for row in json.loads(scores.read_text())]
    found = {row.label: row.value for row in rows if (row.task, row.metric) == ("action unit present", "F1")}
    # A unit that nobody in the test part shows has no F1.
    return {unit: found.get(unit, np.nan) for unit in config.model.action_units}


def run(networks: Sequence[str], folders: Mapping[str, Path], out: Path, *, scale: str) -> dict[str, np.ndarray]:
    """F1 by layout, (networks, folds, units)."""
    values = {layout: np.full((len(networks), len(FOLDS), len(units)), np.nan) for layout, units in UNITS.items()}
    for k, network in enumerate(networks):
        for f, fold in enumerate(FOLDS):
            init = None
            for layout, folder in folders.items():
                place = out / f"{network}-{layout}-{fold}"
                config = configured(network, layout, folder, scale=scale, fold=fold, out=place)
                values[layout][k, f] = list(learn(network, replace(config, init=init)).values())
                init = str(place / "checkpoint")
    return values


def table(layout: str, networks: Sequence[str], values: np.ndarray) -> str:
    """One data set, F1 in per cent as papers give it: values (networks, folds, units), a row a unit."""
    heads = [f"{network}, {of}" for network in networks for of in (*(f"fold {fold}" for fold in FOLDS), "mean")]
    lines = [f"| {TITLES[layout]} | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    each = [[[*folds, mean_known(folds)] for folds in network.T] for network in values]  # (networks, units, folds + 1)
    whole = np.array(each).transpose(1, 0, 2)  # (units, networks, folds + 1)
    means = [[mean_known(whole[:, k, f]) for f in range(whole.shape[2])] for k in range(len(networks))]
    for name, row in zip((*UNITS[layout], "mean"), [*whole, np.array(means)], strict=True):
        cells = ("-" if np.isnan(value) else f"{100 * value:.1f}" for value in row.ravel())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def settle(out: Path, settings: dict[str, Any]) -> None:
    """Keep what the runs in a folder are made of, and refuse to mix others among them."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "settings.json"
    if file.is_file() and (before := json.loads(file.read_text())) != settings:
        raise SystemExit(f"{file}: expected {settings}, found runs made with {before}; name another --out")
    write_whole(file, (json.dumps(settings) + "\n").encode())


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="rendered faces, as `semeia make faces` writes")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="data sets and runs are kept here")
    parser.add_argument("--scale", choices=SCALES, default="smoke", help="of the recipes (default: %(default)s)")
    parser.add_argument("--count", type=int, help="most faces that are looked at (default: all)")
    parser.add_argument("--networks", nargs="+", choices=sorted(NETWORKS), default=sorted(NETWORKS))
    args = parser.parse_args(arguments)
    settle(args.out, {"data": str(Path(args.data).resolve()), "scale": args.scale, "count": args.count})
    try:
        folders = {layout: lay_out(layout, args.data, args.out, count=args.count) for layout in UNITS}
        values = run(args.networks, folders, args.out, scale=args.scale)
    except KeyboardInterrupt:  # a training has saved its state and said how to go on
        raise SystemExit(130) from None
    for layout, found in values.items():
        print(f"\n{table(layout, args.networks, found)}")


if __name__ == "__main__":
    main()
