"""What a grader of facial palsy answers: grades, degrees, mirrored faces, covered eyes.

    python benchmarks/palsy.py --data worlds/palsy --plot docs/images/palsy_degree.svg

Reads the patients of the split ``test`` and prints

- the table of true and answered grades, and how the answered degree follows the true one (``--plot`` draws it),
- mirrored pictures: whether the grade stays and the sides swap, for single pictures from the file on (the face is found
  anew in the mirrored picture) and from the crop on (the same landmarks, mirrored),
- pictures in which one eye is covered before a face is looked for: how many are left out, and how many are graded.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass

import numpy as np
from rich.progress import track

from semeia.data.augment import cover
from semeia.data.formats import palsy as layout
from semeia.files import write_whole
from semeia.media.images import read_image
from semeia.metrics import grades
from semeia.metrics.faces import confusion
from semeia.ops.palsy_scales import GRADES
from semeia.patients import EYES, View, batch_of, even_features, even_landmarks, view_of
from semeia.predict.palsy import PalsyReader
from semeia.recipes._palsy_patients import gather

EDGES = np.array([0.0, 0.001, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


@dataclass(frozen=True)
class Answer:
    """Of one picture by itself: place of the grade, degree, probability that the left is weak, (N, 2) intensities."""

    grade: int
    degree: float
    left: float
    intensity: np.ndarray


def answer(reader: PalsyReader, view: View) -> Answer:
    """Grade a single picture."""
    features = even_features(reader.units.model, [view])
    said = reader.model.predict(batch_of(features, [[0]]))
    return Answer(
        int(said["grade"][0]), float(said["degree"][0]), float(said["left"][0]), features.intensity[0].numpy()
    )


def patients(reader: PalsyReader, folders: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """True and answered grades, true and answered degrees of the test's patients, (n,) each."""
    seen = gather(folders, size=2 * reader.units.model.config.image_size, split="test")
    tested = seen.of("test")
    views = [seen.views[place] for patient in tested for place in patient.places]
    counts = np.cumsum([0, *(len(patient.places) for patient in tested)])
    features = even_features(reader.units.model, views)
    said = reader.model.predict(batch_of(features, [range(a, b) for a, b in itertools.pairwise(counts)]))
    truth = np.array([patient.grade for patient in tested])
    degree = np.array([patient.degree for patient in tested])
    return truth, said["grade"].numpy(), degree, said["degree"].numpy()


def tell_patients(truth: np.ndarray, said: np.ndarray, degree: np.ndarray, found: np.ndarray) -> None:
    """Print the table of grades and the curve of degrees."""
    table = confusion(truth, said, classes=len(GRADES))
    print(f"## {len(truth)} patients: quadratic kappa {grades.quadratic_kappa(table):.3f}\n")
    print(f"| true grade | {' | '.join(GRADES)} |\n|---|{'---|' * len(GRADES)}")
    for name, row in zip(GRADES, table, strict=True):
        print(f"| {name} | {' | '.join(map(str, row))} |")
    curve = grades.curve(degree, found, edges=EDGES)
    print("\n| true degree | patients | mean answer | 5 % | median | 95 % |\n|---|---|---|---|---|---|")
    for i, count in enumerate(curve.count):
        name = "0" if i == 0 else f"{EDGES[i]:.1f} to {EDGES[i + 1]:.1f}"
        values = " | ".join(f"{of[i]:.2f}" for of in (curve.mean, curve.low, curve.middle, curve.high))
        print(f"| {name} | {count} | {values} |")


def mirrored(reader: PalsyReader, paths: list[layout.PalsyFile]) -> None:
    """Print what mirroring a picture changes."""
    size = 2 * reader.units.model.config.image_size
    pairs: dict[str, list[tuple[Answer, Answer]]] = {"from the file on": [], "from the crop on": []}
    missed = 0
    for file in track(paths, "mirrored pictures", transient=True):
        image = read_image(file.path)
        here = view_of(file, reader.finder, image, size=size)
        there = view_of(file, reader.finder, np.ascontiguousarray(image[:, ::-1]), size=size)
        if here is None or there is None:
            missed += 1
            continue
        first = answer(reader, here)
        pairs["from the file on"].append((first, answer(reader, there)))
        pairs["from the crop on"].append((first, answer(reader, here.mirrored())))
    print(f"\n## {len(paths)} pictures and their mirror images; no face in {missed}\n")
    print("| | grade stays | weak side swaps | largest change of degree | mean change of intensity after swapping |")
    print("|---|---|---|---|---|")
    for name, both in pairs.items():
        stays = np.mean([a.grade == b.grade for a, b in both])
        swaps = np.mean([(a.left >= 0.5) != (b.left >= 0.5) for a, b in both])
        degree = max(abs(a.degree - b.degree) for a, b in both)
        moved = np.mean([np.abs(a.intensity - b.intensity[:, ::-1]).mean() for a, b in both])
        print(f"| {name} | {stays:.1%} | {swaps:.1%} | {degree:.4f} | {moved:.4f} |")


def covered(reader: PalsyReader, paths: list[layout.PalsyFile]) -> None:
    """Print what becomes of pictures in which an eye is covered."""
    rng = np.random.default_rng(0)
    size = 2 * reader.units.model.config.image_size
    outcome = {"no face found": 0, "left out, the right eye named": 0, "left out, another eye named": 0, "graded": 0}
    plain = 0
    shown = 0
    for file in track(paths, "covered eyes", transient=True):
        image = read_image(file.path)
        view = view_of(file, reader.finder, image, size=size)
        if view is None:
            continue
        shown += 1
        plain += bool((reader.model.covered(even_features(reader.units.model, [view]).sides)[0] > 0).any())
        side = int(rng.integers(2))
        points = even_landmarks(reader.finder, image)
        assert points is not None  # there is a view
        hidden = cover(image, points[EYES[side]], rng)
        again = view_of(file, reader.finder, hidden, size=size)
        if again is None:
            outcome["no face found"] += 1
            continue
        told = (reader.model.covered(even_features(reader.units.model, [again]).sides)[0] > 0).tolist()
        known = "left out, the right eye named" if told[side] else "left out, another eye named"
        outcome[known if any(told) else "graded"] += 1
    print(f"\n## One eye covered in {shown} pictures; as they were, {plain} of them are left out\n")
    print("| outcome | pictures |\n|---|---|")
    for name, count in outcome.items():
        print(f"| {name} | {count} |")


def plot(degree: np.ndarray, found: np.ndarray) -> str:
    """True and answered degrees as SVG: a dot a patient, and means of bins with their 5 to 95 %."""
    side, edge = 380, 50

    def at(x: float, y: float) -> tuple[float, float]:
        return edge + side * x, edge / 2 + side * (1 - y)

    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = at(value, value)
        parts.append(f'<line x1="{edge}" x2="{edge + side}" y1="{y:.0f}" y2="{y:.0f}" stroke="#e3e6ea"/>')
        parts.append(f'<text x="{edge - 8}" y="{y + 4:.0f}" text-anchor="end">{value:g}</text>')
        parts.append(f'<text x="{x:.0f}" y="{edge / 2 + side + 18:.0f}" text-anchor="middle">{value:g}</text>')
    (x0, y0), (x1, y1) = at(0, 0), at(1, 1)
    parts.append(f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="#8c959f" stroke-dasharray="4 4"/>')
    for true, said in zip(degree, found, strict=True):
        x, y = at(true, said)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="#4e79b7" fill-opacity="0.55"/>')
    curve = grades.curve(degree, found, edges=EDGES)
    for i in np.flatnonzero(curve.count):
        middle = 0.0 if i == 0 else (EDGES[i] + EDGES[i + 1]) / 2
        (x, low), (_, high), (_, mean) = (at(middle, v[i]) for v in (curve.low, curve.high, curve.mean))
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="#24292f"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{mean:.1f}" r="4" fill="#24292f"/>')
    bottom = edge / 2 + side + 38
    parts.append(f'<text x="{edge + side / 2}" y="{bottom}" text-anchor="middle">degree of the rendered palsy</text>')
    parts.append(f'<text x="14" y="{edge / 2 + side / 2}" text-anchor="middle" '
                 f'transform="rotate(-90 14 {edge / 2 + side / 2})">degree answered</text>')  # fmt: skip
    width, height = side + 2 * edge, bottom + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="folders of patients")
    parser.add_argument("--weights", default="palsy")
    parser.add_argument("--au", help="network for action units (default: the one of the weights)")
    parser.add_argument("--pictures", type=int, default=500, help="that are mirrored and covered")
    parser.add_argument("--plot", help="write the degrees as SVG")
    args = parser.parse_args()
    reader = PalsyReader.load(args.weights, args.au, "cpu")
    truth, said, degree, found = patients(reader, args.data)
    tell_patients(truth, said, degree, found)
    if args.plot:
        write_whole(args.plot, plot(degree, found).encode())
    files = [file for folder in args.data for file in layout.read(folder) if file.split == "test"]
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(args.pictures, len(files))).astype(int)]
    mirrored(reader, chosen)
    covered(reader, chosen)


if __name__ == "__main__":
    main()
