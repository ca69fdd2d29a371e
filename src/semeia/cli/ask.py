"""``semeia ask``: questions about a face, one or a chat."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from semeia.predict.answers import FaceAsker, Reply, Seen

ENDS = ("quit", "exit", "bye")


def run(arguments: list[str]) -> int:
    """Answer, or chat until the input ends; see ``semeia ask --help``."""
    args = _arguments(arguments)
    from semeia.predict.answers import NO_FACE, FaceAsker, checked, chosen

    if args.question is not None:
        checked(args.question)  # before anything is loaded
    asker = FaceAsker.load(args.weights, args.device, readings=not args.no_readings)
    if asker.model is None:
        print("semeia: no weights of Face-MLLM; a language model answers from what was measured", file=sys.stderr)
    if args.json:
        replies = asker.ask(args.image, args.question, face=args.face, most=args.most)
        print(json.dumps([reply.as_dict() for reply in replies], indent=2, ensure_ascii=False))
        return 0
    seen = asker.look(args.image)
    if not seen:
        print(NO_FACE)
        return 1
    if args.question is not None:
        for one in chosen(seen, args.face, where=args.image):
            _say(asker, one, args.question, several=len(seen) > 1, most=args.most)
        return 0
    meant = _which(seen, args.face)
    if meant is not None:
        _chat(asker, meant, most=args.most)
    return 0


def _chat(asker: FaceAsker, one: Seen, *, most: int) -> None:
    from semeia.records import SemeiaError

    before: list[tuple[str, str]] = []
    for question in _lines("> "):
        if question.strip().lower() in ENDS:
            return
        if not question.strip():
            continue
        try:
            reply = _say(asker, one, question, before=tuple(before), most=most)
        except SemeiaError as error:  # a chat goes on after a bad question
            print(error)
            continue
        if not reply.refused:
            before.append((question, reply.text))


def _say(
    asker: FaceAsker, one: Seen, question: str, *, before: tuple[tuple[str, str], ...] = (), several: bool = False,
    most: int,
) -> Reply:  # fmt: skip
    from semeia.predict.answers import INSTRUCTED, NAMELESS, SILENT, Reply, support

    if several:
        print(f"face {one.number}: ", end="")
    text = ""
    for piece in asker.pieces(one, question, before=before, most=most):
        print(piece, end="", flush=True)
        text += piece
    print("" if text.strip() else SILENT)
    refused = text.endswith((NAMELESS, INSTRUCTED))
    readings = {} if one.reading is None or refused else support(question, one.reading)
    if readings:
        print("  measured: " + "; ".join(f"{name} {value}" for name, value in readings.items()))
    return Reply(question, text.strip() or SILENT, asker.weights, face=one.number, readings=readings, refused=refused)


def _which(seen: tuple[Seen, ...], face: int | Literal["each"] | None) -> Seen | None:
    """The face that a chat is about; asked for where it is open."""
    from semeia.predict.answers import chosen
    from semeia.records import SemeiaError

    if len(seen) == 1:
        return seen[0]
    if isinstance(face, int):
        return chosen(seen, face, where="--face")[0]
    for said in _lines(f"{len(seen)} faces; which one, 1 to {len(seen)} from the left? "):
        try:
            return chosen(seen, int(said), where="face")[0]
        except (ValueError, SemeiaError):
            print(f"expected a number from 1 to {len(seen)}")
    return None


def _lines(prompt: str) -> Iterator[str]:
    """Lines of the input until it ends; the prompt is shown to people alone."""
    while True:
        if sys.stdin.isatty():
            print(prompt, end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        yield line.rstrip("\n")


def _face(text: str) -> int | str:
    if text == "each":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a number from 1, or 'each', found {text!r}") from error


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="semeia ask",
        description="Ask about a face in a picture; without a question, chat. The measured readings that belong to "
        "the question stand below each answer. It does not say who somebody is.",
        epilog="exit status: 0 answered, 1 no face was found",
    )
    parser.add_argument("image", metavar="IMAGE", help="picture")
    parser.add_argument("question", nargs="?", metavar="QUESTION", help="such as 'Is she smiling?'")
    parser.add_argument("--face", type=_face, metavar="N", help="which face, from 1 at the left, or each")
    parser.add_argument("--weights", metavar="WEIGHTS",
                        help="bundled name or checkpoint folder of Face-MLLM; readings: a language model that is told "
                        "what was measured")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--most", type=int, default=96, metavar="N", help="tokens of an answer at most (default: 96)")
    parser.add_argument("--no-readings", action="store_true", help="answer alone, without what was measured")
    parser.add_argument("--json", action="store_true", help="print JSON; needs a question")
    args = parser.parse_args(arguments)
    if args.json and args.question is None:
        parser.error("--json needs a question")
    if args.most < 1:
        parser.error("--most: expected 1 or more")
    return args
