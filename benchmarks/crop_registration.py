"""How far the crop that the face finder places lies from the one that labelled landmarks place.

    python benchmarks/crop_registration.py --data worlds/faces --limit 300

Training crops by labels and is tested so; in use the finder places crops. Training must move its crops by about as much
as the two differ (``Augmentation.aligned``). Pictures are padded first, because rendered heads fill them.
"""

from __future__ import annotations

import argparse

import numpy as np

from semeia.data.feeds import evaluation_rows
from semeia.data.formats.faces import FaceFolder
from semeia.nn.face_finder import FaceFinder
from semeia.ops.faces import aligned_matrix, invert, landmarks_68, transform_points
from semeia.systems.qface import Config

ROOM = 40
"""Pixels that are added at each side, the edge repeated."""


def apart(labelled: np.ndarray, found: np.ndarray, *, size: int, margin: float) -> tuple[float, float, float]:
    """Scale, turn in degrees and shift in sides of the crop from labelled to found landmarks (68, 2)."""
    first, second = (aligned_matrix(points, size, margin=margin) for points in (labelled, found))
    back = invert(first)
    linear = second[:, :2] @ back[:, :2]
    middle = np.full(2, size / 2)
    shift = transform_points(second, transform_points(back, middle)) - middle
    turn = np.degrees(np.arctan2(linear[1, 0], linear[0, 0]))
    return float(np.hypot(linear[0, 0], linear[1, 0])), float(turn), float(np.linalg.norm(shift) / size)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="faces with landmarks and a val split")
    parser.add_argument("--limit", type=int, default=300, help="most faces (default: %(default)s)")
    args = parser.parse_args()
    faces, finder, config = FaceFolder(args.data), FaceFinder(), Config()
    rows = evaluation_rows(faces, split="val", limit=args.limit)
    measured = []
    for row in rows:
        image = np.pad(faces.image(row), ((ROOM, ROOM), (ROOM, ROOM), (0, 0)), mode="edge")
        if found := finder.find(image):
            points = faces.columns.landmarks[row] + ROOM, landmarks_68(found[0].mesh)
            measured.append(apart(*points, size=config.image_size, margin=config.margin_aligned))
    print(f"{len(measured)} of {len(rows)} faces found; finder against labels:\n")
    print("| | 5 % | median | 95 % |\n|---|---|---|---|")
    for name, values in zip(("scale", "turn, degrees", "shift, part of the side"), np.array(measured).T, strict=True):
        low, middle, high = np.percentile(values, [5, 50, 95])
        print(f"| {name} | {low:.3f} | {middle:.3f} | {high:.3f} |")


if __name__ == "__main__":
    main()
