"""A masked autoencoder of pictures without faces: what EMMA's prior is compared with (claim A1.pictures).

    pip install scikit-image && python benchmarks/picture_prior.py --out runs/picture_mae

Cuts 12,000 squares at random out of the photographs and textures that scikit-image ships (the astronaut and the faces
of LFW are left out) and trains ``semeia train face_mae`` on them, as long and as large as the bundled prior. It stands
in for what papers take from ImageNet, which cannot be had offline: pictures of many kinds, far fewer of them.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from PIL import Image

from semeia.data.formats.faces import write_shard
from semeia.face_sets import FaceData
from semeia.recipes import face_mae
from semeia.records import FaceLabels

PICTURES = (
    "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "color.png", "grass.png",
    "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "microaneurysms.png", "moon.png",
    "motorcycle_left.png", "motorcycle_right.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip
COUNT, SIDE = 12_000, 144
PART = 1_000  # pictures of a shard
HELD_OUT = 10  # one shard in so many is val, one is test


def squares(rng: np.random.Generator, names: list[Path], shard: int) -> Iterator[Any]:
    """Samples of the face format without any label."""
    pictures = [Image.open(name).convert("RGB") for name in names]
    split = {0: "val", 1: "test"}.get(shard % HELD_OUT, "train")
    for i in range(PART):
        picture = pictures[rng.integers(len(pictures))]
        side = int(rng.uniform(0.25, 1.0) * min(picture.size))
        x, y = (int(rng.integers(length - side + 1)) for length in picture.size)
        square = picture.crop((x, y, x + side, y + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        data = io.BytesIO()
        square.save(data, "PNG")
        yield (
            FaceLabels(key=f"{shard:03d}-{i:04d}", identity=f"{shard:03d}-{i:04d}", split=split),
            data.getvalue(),
            None,
            {},
        )


def main() -> None:
    """Cut, then train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/picture_mae")
    parser.add_argument("--count", type=int, default=COUNT)
    args = parser.parse_args()
    folder = Path(args.out) / "pictures"
    names = [Path(skimage.__file__).parent / "data" / name for name in PICTURES]
    for shard in range(max(args.count // PART, 3)):
        if not (folder / "shards" / f"{shard:05d}.parquet").exists():
            write_shard(folder, f"{shard:05d}", squares(np.random.default_rng((7, shard)), names, shard))
    config = face_mae.small()
    config = replace(config, data=FaceData(faces=(str(folder),)), fit=replace(config.fit, out=args.out))
    print(face_mae.train(config))


if __name__ == "__main__":
    main()
