"""What the CT world costs, whether one slice is enough to tell its lesions from its decoys, and how large lesions are.

    python benchmarks/slab_world.py cost --slabs 20
    python benchmarks/slab_world.py decoys --slabs 400 --seeds 3
    python benchmarks/slab_world.py sizes --slabs 400

``decoys``: crops around lesions and around vessels that pass for lesions of the same kinds, matched in kind and size,
are told apart by a small network. It sees the key slice, or three slices 6 mm apart, or seven 2 mm apart. Patients are
divided; the interval is over patients of the test (bootstrap of the mean over seeds). Slabs hold more lesions than
usual here, most of them unlabelled, so that fewer slabs are needed.

Shapes      n crops   S slices   C crop pixels
"""

from __future__ import annotations

import argparse
import os
from collections import Counter, defaultdict
from time import process_time

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from semeia.data.synthetic.slabs import scanner  # noqa: E402
from semeia.data.synthetic.slabs.body import paint_body  # noqa: E402
from semeia.data.synthetic.slabs.kinds import KINDS  # noqa: E402
from semeia.data.synthetic.slabs.lesions import LARGEST_DECOY  # noqa: E402
from semeia.data.synthetic.slabs.person import draw_person, draw_scan  # noqa: E402
from semeia.data.synthetic.slabs.slab import draw_slab, fill_slab  # noqa: E402

CROP = 32
_MIMICKED = {kind.name for kind in KINDS if kind.mimicked}
_WINDOWS = ((-160.0, 240.0), (-1350.0, 150.0))
_VIEWS = {"1 slice": (0.0,), "3 slices, 6 mm apart": (-6.0, 0.0, 6.0),
          "7 slices, 2 mm apart": (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)}  # fmt: skip
_OFFSETS = _VIEWS["7 slices, 2 mm apart"]


def cost(slabs: int, size: int) -> None:
    """Print CPU seconds of one thread by stage."""
    seconds: dict[str, float] = defaultdict(float)
    by_thickness: dict[float, list[float]] = defaultdict(list)
    draw_slab(1, 1, size=size)  # compiles
    for patient in range(2, slabs + 2):
        began = process_time()
        person = draw_person(1, patient)
        scan = draw_scan(person, 1, size=size)
        canvas = paint_body(person, scan)
        painted = process_time()
        fill_slab(canvas, 1)
        done = process_time()
        clean = scanner.slices(canvas.hu, scan.planes)
        rng = np.random.default_rng(0)
        last = process_time()
        clean = clean + scanner.texture(canvas, rng)
        textured = process_time()
        clean = scanner.resolve(clean, scan.spacing, sharp=scan.sharp)
        resolved = process_time()
        scanner.noise(canvas, clean, rng)
        noised = process_time()
        for stage, spent in (("body", painted - began), ("lesions, decoys, scanner, twin, axes", done - painted),
                             ("  of this: texture", textured - last), ("  of this: kernel, once", resolved - textured),
                             ("  of this: noise", noised - resolved), ("all", done - began)):  # fmt: skip
            seconds[stage] += spent / slabs
        by_thickness[scan.thickness].append(done - began)
    print(f"{slabs} slabs, {size} x {size} pixels, with twin\n\n| stage | CPU ms a slab |\n|---|---|")
    for stage, spent in seconds.items():
        print(f"| {stage} | {1000 * spent:.0f} |")
    for thickness, spent_all in sorted(by_thickness.items()):
        print(f"| all, slices of {thickness:g} mm ({len(spent_all)} slabs) | {1000 * np.mean(spent_all):.0f} |")


def sizes(slabs: int) -> None:
    """Print percentiles of the axes and shares of kinds."""
    long, short, kinds, counts = [], [], Counter(), Counter()
    for patient in range(1, slabs + 1):
        slab = draw_slab(3, patient)
        counts[len(slab.lesions)] += 1
        for lesion in slab.lesions:
            long.append(lesion.axes.long * slab.scan.spacing)
            short.append(lesion.axes.short * slab.scan.spacing)
            kinds[lesion.kind] += 1
    percentiles = (5, 25, 50, 75, 95)
    print(f"{len(long)} lesions on {slabs} key slices; lesions a slice: {dict(sorted(counts.items()))}")
    print("long axis, mm, percentiles 5/25/50/75/95:", *np.percentile(long, percentiles).round(1))
    print("short axis, mm:", *np.percentile(short, percentiles).round(1))
    print("\n".join(f"{name}: {count}" for name, count in kinds.most_common()))


def crop(hu: np.ndarray, key: int, thickness: float, x: float, y: float) -> np.ndarray | None:
    """(7, 2, C, C) crop around a place, slices 2 mm apart, in both windows; None at the border."""
    column, row = round(x - 0.5) - CROP // 2, round(y - 0.5) - CROP // 2
    if min(column, row) < 0 or max(column, row) + CROP > hu.shape[1]:
        return None
    piece = hu[:, row : row + CROP, column : column + CROP].astype(np.float32)
    planes = []
    for offset in _OFFSETS:
        place = float(np.clip(key + offset / thickness, 0, len(hu) - 1))
        low = int(place)
        high = min(low + 1, len(hu) - 1)
        planes.append(piece[low] + (place - low) * (piece[high] - piece[low]))
    stack = np.stack(planes)  # (7, C, C)
    return np.stack([np.clip((stack - low) / (high - low), 0, 1) for low, high in _WINDOWS], 1)


def gather(slabs: int, seed: int) -> dict[str, np.ndarray]:
    """Crops (n, 7, 2, C, C), whether each shows a lesion (n,), patients (n,), kinds (n,), long axes in mm (n,)."""
    rows: list[tuple[np.ndarray, bool, int, str, float]] = []
    for patient in range(1, slabs + 1):
        slab = draw_slab(seed, patient, unlabelled=0.8)
        found = [(lesion.kind, lesion.axes.ends[:2].mean(0), lesion.axes.long, True) for lesion in slab.lesions]
        found += [(decoy.kind, np.array(decoy.centre), 2 * decoy.radius, False) for decoy in slab.decoys]
        for kind, centre, long, lesion in found:
            millimetres = long * slab.scan.spacing
            piece = crop(slab.hu, slab.key, slab.scan.thickness, *centre) if kind in _MIMICKED else None
            if piece is not None and millimetres <= LARGEST_DECOY:
                rows.append((piece, lesion, patient, kind, millimetres))
    columns = zip(*rows, strict=True)
    names = ("crops", "lesion", "patient", "kind", "long")
    return {name: np.array(column) for name, column in zip(names, columns, strict=True)}


def matched(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As many lesions as decoys of each kind and size."""
    rng = np.random.default_rng(0)
    kept = []
    steps = np.digitize(data["long"], (6, 8, 10, 12, 15, 18, 22))
    for kind in np.unique(data["kind"]):
        for step in range(8):
            here = np.flatnonzero((data["kind"] == kind) & (steps == step))
            lesions, decoys = (rng.permutation(here[data["lesion"][here] == what]) for what in (True, False))
            count = min(len(lesions), len(decoys))
            kept += [lesions[:count], decoys[:count]]
    places = np.concatenate(kept)
    return {name: column[places] for name, column in data.items()}


def auc(truth: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Area under the curve of weighted samples; ties count half."""
    positive, negative = truth.astype(bool), ~truth.astype(bool)
    above = (score[positive][:, None] > score[negative]) + 0.5 * (score[positive][:, None] == score[negative])
    pair = weight[positive][:, None] * weight[negative]
    return float((above * pair).sum() / pair.sum())


def network(channels: int) -> nn.Module:
    """Three convolutions and a mean."""
    layers: list[nn.Module] = []
    for before, after in ((channels, 24), (24, 48), (48, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 16, 1))


def scores(
    data: dict[str, np.ndarray], train: np.ndarray, view: tuple[float, ...], seed: int, epochs: int
) -> np.ndarray:
    """(n,) answers of a network trained on some of the crops."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    chosen = [_OFFSETS.index(offset) for offset in view]
    pictures = torch.from_numpy(
        data["crops"][:, chosen].reshape(len(data["crops"]), -1, CROP, CROP)
    ).float()  # (n, 2 S, C, C)
    truth = torch.from_numpy(data["lesion"].astype(np.float32))
    model = network(pictures.shape[1])
    steps = epochs * (len(train) // 32)
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(steps):
        some = rng.choice(train, 32, replace=False)
        batch = pictures[some]
        if rng.random() < 0.5:
            batch = batch.flip(-1)
        batch = torch.rot90(batch, int(rng.integers(4)), (-2, -1))
        loss = nn.functional.binary_cross_entropy_with_logits(model(batch)[:, 0], truth[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        turned = [model(torch.rot90(pictures, k, (-2, -1)))[:, 0] for k in range(4)]
    return torch.stack(turned).mean(0).numpy()


def decoys(slabs: int, seeds: int, epochs: int) -> None:
    """Print the table of AUC."""
    torch.set_num_threads(1)
    data = matched(gather(slabs, 21))
    people = np.unique(data["patient"])
    test_people = people[::2]
    test = np.flatnonzero(np.isin(data["patient"], test_people))
    train = np.flatnonzero(~np.isin(data["patient"], test_people))
    print(f"{slabs} slabs: {len(train)} crops of {len(people) - len(test_people)} patients to train, {len(test)} of "
          f"{len(test_people)} to test; half of them lesions; {seeds} seeds, {epochs} epochs")  # fmt: skip
    print("kinds:", dict(Counter(data["kind"][test].tolist())))
    answers = {
        name: np.stack([scores(data, train, view, seed, epochs)[test] for seed in range(seeds)])
        for name, view in _VIEWS.items()
    }
    truth, patient = data["lesion"][test], data["patient"][test]
    rng = np.random.default_rng(1)
    draws = [rng.multinomial(len(test_people), np.full(len(test_people), 1 / len(test_people))) for _ in range(400)]
    place = np.searchsorted(test_people, patient)
    means: dict[str, np.ndarray] = {}
    print("\n| the network sees | AUC | 95 % interval over patients | by seed |\n|---|---|---|---|")
    for name, answer in answers.items():
        ones = np.ones(len(test))
        by_seed = [auc(truth, one, ones) for one in answer]
        means[name] = np.array([np.mean([auc(truth, one, draw[place]) for one in answer]) for draw in draws])
        low, high = np.percentile(means[name], (2.5, 97.5))
        print(
            f"| {name} | {np.mean(by_seed):.3f} | {low:.3f} to {high:.3f} | {', '.join(f'{v:.3f}' for v in by_seed)} |"
        )
    for name in list(_VIEWS)[1:]:
        gain = means[name] - means["1 slice"]
        print(f"gain of {name} over 1: {gain.mean():.3f}, 95 % interval {np.percentile(gain, 2.5):.3f} to "
              f"{np.percentile(gain, 97.5):.3f}")  # fmt: skip


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, count in (("cost", 20), ("decoys", 400), ("sizes", 400)):
        verb = verbs.add_parser(name)
        verb.add_argument("--slabs", type=int, default=count)
        if name == "cost":
            verb.add_argument("--size", type=int, default=256)
        if name == "decoys":
            verb.add_argument("--seeds", type=int, default=3)
            verb.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    if args.verb == "cost":
        cost(args.slabs, args.size)
    elif args.verb == "sizes":
        sizes(args.slabs)
    else:
        decoys(args.slabs, args.seeds, args.epochs)


if __name__ == "__main__":
    main()
