"""What re-annotation does when it is killed, how often its labels are right, and whether a cluster changes anything.

    python benchmarks/annotate.py kill worlds/faces --out runs/annotate --count 2000
    python benchmarks/annotate.py agreement --out runs/annotate
    python benchmarks/annotate.py ray --out runs/annotate

``kill`` takes faces of persons of the split ``test``, who trained no reader, starts ``semeia annotate`` on them, ends
it by SIGKILL at a third and at two thirds of its shards, lets it finish, and counts what it made: every picture once,
nothing twice, the same faces in every format. ``agreement`` compares the labels with the truth, item by item.
``ray`` starts a cluster of two nodes with one core each by ``ray start``, annotates the same faces on it, and compares
every file with those of the run that was killed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semeia.data.formats import imagefolder_metadata, llava, trl_messages, webdataset
from semeia.data.formats.faces import FaceFolder, write_shard
from semeia.predict.annotate import BATCH, Job, Work, Worker
from semeia.predict.annotators import Readers
from semeia.predict.over_ray import has_token
from semeia.predict.picture_sources import find_pictures
from semeia.records import SemeiaError
from semeia.systems.face_mllm.annotate import KEPT, Config
from semeia.systems.face_mllm.schema import ITEMS, known

MIN_SIDE = 48
"""Smallest face in pixels: pictures of the world have sides of 112 or 144."""

PARTS = 12
"""Shards of a run at least, so that there is something between the kills."""

LARGEST = 64
"""Pictures of a shard at most."""

KILLS = (1 / 3, 2 / 3)
WORKERS = 2
PATIENCE = 0.2


# ---------------------------------------------------------------------------------------------------------------------
# Faces, and the command


def choose(world: str, folder: Path, count: int, split: str) -> int:
    """Write ``count`` faces of a split, evenly spread over it, as a folder in the face format; and their number."""
    if (folder / "shards").is_dir():
        return len(FaceFolder(folder).columns)
    faces = FaceFolder(world)
    rows = faces.select(split)
    if len(rows) < count:
        raise SemeiaError(f"{world}: expected {count:,} faces in split {split!r}, found {len(rows):,}; ask for fewer")
    rows = rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]
    for number, start in enumerate(range(0, count, 100)):
        some = (int(row) for row in rows[start : start + 100])
        write_shard(folder, f"{number:05d}", ((faces.labels(row), faces.image_bytes(row), None, {}) for row in some))
    return count


def shard_size(count: int) -> int:
    """Pictures of a shard."""
    return max(1, min(LARGEST, count // PARTS))


def command(faces: Path, out: Path, count: int, *more: str) -> list[str]:
    """``semeia annotate`` on a folder of faces, in another process."""
    program = [sys.executable, "-c", "import sys; from semeia.cli.main import main; sys.exit(main())", "annotate"]
    return [
        *program, str(faces), "--out", str(out), "--min-side", str(MIN_SIDE), "--shard", str(shard_size(count)),
        "--workers", str(WORKERS), "--device", "cpu", "--quiet", *more,
    ]  # fmt: skip


def finished(out: Path) -> int:
    """Work shards that stand."""
    return sum(webdataset.has_shard(path.with_suffix(".tar")) for path in (out / "work").glob("[0-9]*.parquet"))


@dataclass(frozen=True)
class Stretch:
    """One start of the command: seconds, shards that it made, and how it ended."""

    seconds: float
    shards: int
    end: str


def stretch(words: Sequence[str], out: Path, *, until: int | None) -> Stretch:
    """Run the command, and end it by SIGKILL as soon as ``until`` shards stand.

    Raises:
        SemeiaError: It failed, or was done before it could be killed.
    """
    before, began = finished(out), time.perf_counter()
    with subprocess.Popen(words) as process:
        while process.poll() is None:
            if until is not None and finished(out) >= until:
                process.send_signal(signal.SIGKILL)
                process.wait()
                break
            time.sleep(PATIENCE)
    seconds = time.perf_counter() - began
    if until is None and process.returncode:
        raise SemeiaError(f"semeia annotate failed with exit status {process.returncode}")
    if until is not None and process.returncode != -signal.SIGKILL:
        raise SemeiaError(f"semeia annotate ended with status {process.returncode} before {until} shards were seen; "
                          "ask for more pictures")  # fmt: skip
    return Stretch(seconds, finished(out) - before, "SIGKILL" if until is not None else "done")


# ---------------------------------------------------------------------------------------------------------------------
# kill


def faults(out: Path, faces: FaceFolder) -> list[str]:
    """What is missing, double or unlike in the outputs of a finished run; empty where all is well."""
    found = []
    shards = sorted((out / "work").glob("[0-9]*.parquet"))
    rows = [row for shard in shards for row in webdataset.rows_of(shard, ["key", "source", "status"])]
    seen = Counter(Path(row["source"]).name.partition(".")[0] for row in rows)
    wanted = Counter(map(str, faces.columns.texts["key"]))
    found += [f"{key}: {seen[key]} rows, expected {wanted[key]}" for key in wanted | seen if seen[key] != wanted[key]]
    found += [f"{path}: left over" for path in (out / "work").glob(".*")]
    statuses = json.loads((out / "report.json").read_text(encoding="utf-8"))["statuses"]
    may = {row["key"] for row in rows if row["status"] == KEPT}
    if sum(statuses.values()) != len(rows) or len(may) != statuses.get(KEPT, 0) + statuses.get("near-duplicate", 0):
        found.append(f"report.json: statuses {statuses} do not add up to {len(rows)} rows, {len(may)} of them kept")
    tars = sorted((out / "webdataset").glob("*.tar"))
    formats = {
        "webdataset": [sample.key for tar in tars for sample in webdataset.read(tar)],
        "imagefolder": [Path(name).stem for name, *_ in imagefolder_metadata.read(out / "imagefolder")],
        "llava_captions.json": [_face(chat.id) for chat in llava.read(out / "llava_captions.json")],
        "trl_captions.parquet": [_face(chat.id) for chat, _ in trl_messages.read(out / "trl_captions.parquet")],
    }
    first = set(formats["webdataset"])
    for name, keys in formats.items():
        if len(set(keys)) != len(keys):
            found.append(f"{name}: {len(keys) - len(set(keys))} faces twice")
        if set(keys) != first or not first <= may or len(first) != statuses.get(KEPT, 0):
            found.append(f"{name}: {len(set(keys))} faces, expected the {statuses.get(KEPT, 0)} that were kept")
    return found


def _face(chat: str) -> str:
    return chat.rpartition("_")[0]


def one_core(faces: Path, most: int = 128) -> tuple[int, float]:
    """Pictures, and seconds of one processor core that a worker took for them once it was loaded."""
    pictures = find_pictures([faces])[0][:most]
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "plan.json").write_text("{}", encoding="utf-8")
        readers = (Readers(device="cpu"),)
        worker = Worker(Work(place, readers, Config(fewest_pixels=MIN_SIDE), device="cpu"), threads=1)
        worker.annotate(Job(0, tuple(pictures[:BATCH])))
        began = time.process_time()
        worker.annotate(Job(1, tuple(pictures)))
        return len(pictures), time.process_time() - began


def kill(args: argparse.Namespace) -> int:
    """Kill a run twice, let it finish, and look at what it made."""
    out, faces = args.out / "killed", args.out / "faces"
    if out.exists():
        raise SemeiaError(f"{out}: holds a run; remove it, or name another --out")
    count = choose(args.world, faces, args.count, args.split)
    size = shard_size(count)
    shards = -(-count // size)
    words = command(faces, out, count)
    made = [stretch(words, out, until=max(1, round(part * shards))) for part in KILLS]
    made.append(stretch(words, out, until=None))
    print(f"{count:,} pictures, {shards} shards of {size}, {WORKERS} workers, {os.cpu_count()} cores\n")
    print("| start | seconds | shards made | ended by |\n|---|---|---|---|")
    for number, one in enumerate(made, 1):
        print(f"| {number} | {one.seconds:.1f} | {one.shards} | {one.end} |")
    wall = sum(one.seconds for one in made)
    print(f"\n{count / wall / WORKERS:.2f} pictures a second and worker on the clock, with three starts and what the "
          "kills lost")  # fmt: skip
    looked, seconds = one_core(faces)
    print(f"{looked / seconds:.2f} pictures a second and core by its own time ({looked} pictures, {seconds:.1f} s of "
          "one loaded worker)\n")  # fmt: skip
    print("| what became of them | pictures |\n|---|---|")
    for status, number in json.loads((out / "report.json").read_text(encoding="utf-8"))["statuses"].items():
        print(f"| {status} | {number:,} |")
    wrong = faults(out, FaceFolder(faces))
    print("\n" + ("\n".join(wrong) if wrong else "complete, and nothing twice"))
    return bool(wrong)


# ---------------------------------------------------------------------------------------------------------------------
# agreement


@dataclass(frozen=True)
class Row:
    """Labels of one item against the truth."""

    item: str
    known: int
    """Kept faces whose truth is known."""
    told: int
    """Those of them that got a label."""
    right: int
    """Labels that are right."""
    commonest: int
    """How many would be if all said the commonest truth."""


def agreement_rows(labels: Mapping[str, Mapping[str, str]], truth: Mapping[str, Mapping[str, str]]) -> list[Row]:
    """Labels of faces against their truth, both by key and item."""
    pairs: dict[str, list[tuple[str | None, str]]] = defaultdict(list)
    for key, told in labels.items():
        for item, value in truth[key].items():
            pairs[item].append((told.get(item), value))
    rows = []
    for item in ITEMS:
        of = [(told, true) for told, true in pairs[item] if told is not None]
        if of:
            most = Counter(true for _, true in of).most_common(1)[0][1]
            rows.append(Row(item, len(pairs[item]), len(of), sum(told == true for told, true in of), most))
    return rows


def agreement(args: argparse.Namespace) -> int:
    """The table of items, checked against the one that ``semeia annotate --truth`` writes."""
    out, faces = args.out / args.run, args.out / "faces"
    folder = FaceFolder(faces)
    subprocess.run(command(faces, out, len(folder.columns), "--truth", str(faces), "--drop-below", "0"), check=True)
    truth = {str(key): known(folder.labels(row)) for row, key in enumerate(folder.columns.texts["key"])}
    samples = [sample for tar in sorted((out / "webdataset").glob("*.tar")) for sample in webdataset.read(tar)]
    labels = {Path(s.notes["source"]).name.partition(".")[0]: s.notes["labels"] for s in samples if s.notes}
    rows = agreement_rows(labels, truth)
    print(f"{len(labels):,} faces of {len(truth):,} were kept\n")
    print("| item | n | told | agree | commonest answer alone |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row.item} | {row.told:,} | {row.told / row.known:.0%} | {row.right / row.told:.1%} | "
              f"{row.commonest / row.told:.1%} |")  # fmt: skip
    shares = [(row.right / row.told, row.commonest / row.told) for row in rows]
    print(f"| mean of {len(rows)} items | | | {np.mean([s for s, _ in shares]):.1%} | "
          f"{np.mean([c for _, c in shares]):.1%} |")  # fmt: skip
    with (out / "agreement.csv").open(encoding="utf-8", newline="") as stream:
        written = {line["item"]: (int(line["compared"]), float(line["agreement"])) for line in csv.DictReader(stream)}
    same = written == {row.item: (row.told, round(row.right / row.told, 4)) for row in rows}
    print(f"\n{out / 'agreement.csv'} {'says the same' if same else 'says otherwise'}")
    return not same


# ---------------------------------------------------------------------------------------------------------------------
# ray


@contextmanager
def cluster() -> Iterator[str]:
    """The address of a cluster of ``WORKERS`` nodes with one core each, which ends with the block."""
    ray = Path(sys.executable).with_name("ray")
    if not ray.is_file():
        raise SemeiaError(f"{ray}: not found; pip install 'semeia[scale]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    sized = ["--num-cpus=1", "--object-store-memory=200000000", "--disable-usage-stats", "--block"]
    head = ["--head", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false", *sized]
    others = [f"--address={address}", *sized]
    # A head asks for the token where there is one; nodes show it only where they are told to.
    env = os.environ | ({"RAY_AUTH_MODE": "token"} if has_token() else {})
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for words in [head] + [others] * (WORKERS - 1):
            quiet = subprocess.DEVNULL
            nodes.append(subprocess.Popen([str(ray), "start", *words], stdout=quiet, stderr=quiet, env=env))
            _wait_for_nodes(address, len(nodes), env)
        yield address
    finally:
        for node in reversed(nodes):  # not ``ray stop``, which ends every cluster of this machine
            node.terminate()
            node.wait(60)


COUNT_NODES = """
import sys, time
import ray

address, count, until = sys.argv[1], int(sys.argv[2]), time.monotonic() + 300
while time.monotonic() < until:
    try:
        if not ray.is_initialized():
            ray.init(address=address, logging_level="ERROR", log_to_driver=False)
        if sum(node["Alive"] for node in ray.nodes()) >= count:
            sys.exit(0)
    except (ConnectionError, RuntimeError) as error:
        print(error, file=sys.stderr)
    time.sleep(1)
sys.exit(1)
"""


def _wait_for_nodes(address: str, count: int, env: dict[str, str]) -> None:
    words = [sys.executable, "-c", COUNT_NODES, address, str(count)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise SemeiaError(f"{address}: expected {count} Ray nodes within five minutes, found fewer; Ray says: {said}")


def digests(out: Path) -> dict[str, str]:
    """Every file that a run made, and letters that stand for its content; of the report without its own folder."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name != ".running":
            content = path.read_bytes()
            if path.name == "report.json":
                content = json.dumps(json.loads(content) | {"written": None}).encode()
            found[str(path.relative_to(out))] = hashlib.sha256(content).hexdigest()
    return found


def over_ray(args: argparse.Namespace) -> int:
    """Annotate on a cluster, and compare with the run that was killed."""
    faces, out, other = args.out / "faces", args.out / "ray", args.out / "killed"
    if out.exists():
        raise SemeiaError(f"{out}: holds a run; remove it, or name another --out")
    count = len(FaceFolder(faces).columns)
    subprocess.run(command(faces, other, count), check=True)  # done, but the last finish may have had a truth
    (other / "agreement.csv").unlink(missing_ok=True)
    with cluster() as address:
        ended = stretch(command(faces, out, count, "--address", address), out, until=None)
    one, two = digests(out), digests(other)
    names = one.keys() | two.keys()
    unlike = sorted(name for name in names if one.get(name) != two.get(name))
    print(f"{count:,} pictures on {WORKERS} Ray nodes of one core: {ended.seconds:.1f} s, "
          f"{count / ended.seconds / WORKERS:.2f} pictures a second and core with loading")  # fmt: skip
    print(f"{len(names) - len(unlike):,} of {len(names):,} files are equal to those of the local run that was killed "
          "twice")  # fmt: skip
    print("\n".join(f"unlike: {name}" for name in unlike[:20]))
    return bool(unlike)


def main() -> int:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    killing = verbs.add_parser("kill", help="kill a run twice and let it finish")
    killing.add_argument("world", help="folder of the face world")
    killing.add_argument("--count", type=int, default=2000, metavar="N", help="pictures (default: %(default)s)")
    killing.add_argument("--split", default="test", help="whose persons are taken (default: %(default)s)")
    comparing = verbs.add_parser("agreement", help="labels of a finished run against the truth")
    comparing.add_argument("--run", default="killed", choices=("killed", "ray"), help="of which run")
    spreading = verbs.add_parser("ray", help="the same on a Ray cluster of two nodes")
    for verb in (killing, comparing, spreading):
        verb.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of faces and runs")
    args = parser.parse_args()
    try:
        return {"kill": kill, "agreement": agreement, "ray": over_ray}[args.verb](args)
    except SemeiaError as error:
        print(f"annotate: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
