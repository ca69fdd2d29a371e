"""Data that several tests stand on."""

import io

import numpy as np
import pytest
from PIL import Image

from semeia.data.formats.faces import write_shard
from semeia.records import ACTION_UNITS, ATTRIBUTES, EXPRESSIONS, FaceLabels, Pose


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A folder of 40 noise pictures of 20 persons with every label, in three splits."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    five = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]]) * 64

    def sample(i):
        person = i // 2
        intensity = {unit: float(rng.integers(0, 6)) for unit in ACTION_UNITS}
        landmarks = rng.uniform(16, 48, (68, 2))
        landmarks[36:42], landmarks[42:48] = five[0], five[1]
        landmarks[30], landmarks[48], landmarks[54] = five[2:]
        labels = FaceLabels(
            key=f"{i:04d}",
            identity=f"p{person}",
            split="train" if person < 12 else "val" if person < 16 else "test",
            expression=EXPRESSIONS[i % len(EXPRESSIONS)],
            au_intensity=intensity,
            au_occurrence={unit: int(value >= 2) for unit, value in intensity.items()},
            au_left=intensity,
            au_right=intensity,
            attributes={name: int(rng.integers(2)) for name in ATTRIBUTES},
            age=float(rng.uniform(5, 80)),
            pose=Pose(*rng.uniform(-30, 30, 3)),
            landmarks=landmarks,
            valence=(i % 9 - 4) / 5,
            arousal=(i % 7 - 3) / 4,
        )
        picture = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(picture, "PNG")
        return labels, picture.getvalue(), None, {}

    write_shard(folder, "00000", (sample(i) for i in range(40)))
    return folder
