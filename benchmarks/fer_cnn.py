"""How near the expression network in torch is to the original in Keras, how fast both are, and what it sees here.

    python -m venv PEER && PEER/bin/pip install tensorflow-cpu opencv-python-headless
    pip install scikit-image && python benchmarks/fer_cnn.py --data worlds/faces --keras PEER/bin/python

The original answers are computed in another process by the interpreter of ``--keras``, as ``fer`` 25.10.3 computes them
with ``use_tflite=False``: OpenCV makes the input, Keras loads the file and is called. One thread each; times include
making the input and are medians, of the processor and, in brackets, as they passed, which other work on the machine
prolongs. Without ``--keras`` this part is left out. Faces are cropped upright by their labelled landmarks.

The rendered faces are not what the network was made for; its accuracy on them is information, not a claim.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from skimage.data import astronaut

from semeia import parts
from semeia.data.feeds import evaluation_rows
from semeia.data.formats.faces import FaceFolder
from semeia.nn.face_finder import FaceFinder
from semeia.nn.mini_xception import CLASSES, EXPRESSION_OF, MiniXception, network_input
from semeia.ops.faces import crop, landmarks_68, upright_matrix

CROP = 96
"""Pixels of a crop's side."""

MARGIN = 0.35
"""Room around the face for the comparison with Keras, as the face reader's loose crop has it."""

MARGINS = (0.05, 0.2, 0.35, 0.5)

PEER = """
import json, os, sys, time
os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", TF_NUM_INTRAOP_THREADS="1",
                  TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS="1")
import cv2, keras, numpy as np
cv2.setNumThreads(1)
weights, folder, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
crops = np.load(folder + "/crops.npy")
model = keras.models.load_model(weights, compile=False)

def prepare(crops):
    faces = [cv2.resize(cv2.cvtColor(c[..., ::-1].copy(), cv2.COLOR_BGR2GRAY), (64, 64)) for c in crops]
    faces = np.array(faces, dtype="float32") / 255.0
    return (faces - 0.5) * 2.0

def called(crops):
    return np.asarray(model(prepare(crops)[..., None]))

def compiled(crops):
    return np.asarray(model.predict_on_batch(prepare(crops)[..., None]))

times = {}
for name, call in (("called", called), ("compiled", compiled)):
    for count in (1, len(crops)):
        call(crops[:count])
        spent = []
        for i in range(rounds):
            start = time.process_time(), time.perf_counter()
            call(crops[i % len(crops)][None] if count == 1 else crops)
            spent.append((time.process_time() - start[0], time.perf_counter() - start[1]))
        times[name + " " + str(count)] = (1000 * np.median(spent, axis=0) / count).tolist()
np.savez(folder + "/answers.npz", pixels=prepare(crops), probabilities=called(crops))
versions = f"keras {keras.__version__} on {keras.backend.backend()}, OpenCV {cv2.__version__}"
print(json.dumps({"versions": versions, "times": times}))
"""


def crops_of(faces: FaceFolder, rows: np.ndarray, *, margin: float) -> np.ndarray:
    """Crops (N, CROP, CROP, 3) uint8 of labelled faces."""
    matrices = [upright_matrix(faces.columns.landmarks[row], CROP, margin=margin) for row in rows]
    return np.stack([crop(faces.image(row), m, size=CROP) for row, m in zip(rows, matrices, strict=True)])


@torch.inference_mode()
def probabilities(network: MiniXception, crops: np.ndarray) -> np.ndarray:
    """(N, 7) in the order of ``CLASSES``."""
    return network(network_input(crops)).softmax(1).numpy()


def milliseconds(network: MiniXception, crops: np.ndarray, *, count: int, rounds: int) -> list[float]:
    """Median milliseconds a crop, of the processor and as they passed, after one call that warms up."""
    probabilities(network, crops[:count])
    spent = []
    for i in range(rounds):
        start = time.process_time(), time.perf_counter()
        probabilities(network, crops[i % len(crops)][None] if count == 1 else crops)
        spent.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    return (1000 * np.median(spent, axis=0) / count).tolist()


def compare(network: MiniXception, crops: np.ndarray, *, python: Path, rounds: int) -> None:
    """Print differences and times beside those of Keras."""
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "crops.npy", crops)
        command = [str(python), "-c", PEER, str(parts.fetch("expression-cnn")), folder, str(rounds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        answers = dict(np.load(Path(folder) / "answers.npz"))
    peer = json.loads(done.stdout.splitlines()[-1])
    ours = probabilities(network, crops)
    pixels = np.abs(network_input(crops)[:, 0].numpy() - answers["pixels"]).max()
    apart = np.abs(ours - answers["probabilities"]).max()
    print(f"{len(crops)} crops of {CROP} x {CROP} pixels; torch {torch.__version__}, {peer['versions']}\n")
    print(f"largest difference of the input          {pixels:.1e}")
    print(f"largest difference of the probabilities  {apart:.1e}")
    print(f"same class                               {(ours.argmax(1) == answers['probabilities'].argmax(1)).sum()}\n")
    times = peer["times"]
    print("| milliseconds a crop | here | Keras, called as fer does | Keras, predict_on_batch |\n|---|---|---|---|")
    for count in (1, len(crops)):
        here = milliseconds(network, crops, count=count, rounds=rounds)
        columns = (here, times[f"called {count}"], times[f"compiled {count}"])
        print(f"| {count} at a time | {' | '.join('{:.2f} ({:.2f})'.format(*pair) for pair in columns)} |")


def accuracy(network: MiniXception, faces: FaceFolder, rows: np.ndarray) -> None:
    """Print how often the most probable class is the labelled one, by margin of the crop."""
    labels = np.array([faces.columns.texts["expression"][row] for row in rows])
    names = list(EXPRESSION_OF.values())
    print(f"\n{len(rows)} faces of the test split with one of the seven expressions\n")
    print(f"| margin | accuracy | mean recall | {' | '.join(f'{n} ({(labels == n).sum()})' for n in names)} |")
    print("|---" * (len(names) + 3) + "|")
    for margin in MARGINS:
        found = np.array(names)[probabilities(network, crops_of(faces, rows, margin=margin)).argmax(1)]
        recalls = [(found[labels == name] == name).mean() for name in names]
        numbers = [(found == labels).mean(), np.mean(recalls), *recalls]
        print(f"| {margin} | {' | '.join(f'{number:.2f}' for number in numbers)} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="faces with landmarks and a test split")
    parser.add_argument("--keras", type=Path, metavar="PYTHON", help="an interpreter that has keras and OpenCV")
    parser.add_argument("--limit", type=int, default=700, help="most faces with an expression (default: %(default)s)")
    parser.add_argument("--crops", type=int, default=100, help="crops beside Keras (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=50, help="timed calls of each (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network, faces = MiniXception.load(), FaceFolder(args.data)
    if args.keras:
        rows = evaluation_rows(faces, split="test", limit=args.crops)
        compare(network, crops_of(faces, rows, margin=MARGIN), python=args.keras, rounds=args.rounds)

    common = np.isin(faces.columns.texts["expression"], list(EXPRESSION_OF.values()))
    labelled = evaluation_rows(faces, split="test")
    labelled = labelled[common[labelled]]
    chosen = np.arange(min(args.limit, len(labelled))) * len(labelled) // min(args.limit, len(labelled))
    accuracy(network, faces, labelled[chosen])

    (face,) = FaceFinder().find(astronaut())
    print("\nThe astronaut of scikit-image\n")
    for margin in MARGINS:
        matrix = upright_matrix(landmarks_68(face.mesh), CROP, margin=margin)
        values = probabilities(network, crop(astronaut(), matrix, size=CROP)[None])[0]
        print(
            f"margin {margin:<5}", "  ".join(f"{name} {value:.3f}" for name, value in zip(CLASSES, values, strict=True))
        )


if __name__ == "__main__":
    main()
