"""``semeia VERB ...``: finds the verb, runs it, and turns what went wrong into one line and an exit status.

Exit status: 0 all answered, 1 some files could not be read, 2 wrong use or nothing could be answered, 130 interrupted.

Verbs read their flags with argparse: nothing heavy may be imported for ``--help``, and a handful of flags needs no
configuration language. Only ``train`` and ``evaluate``, whose flags are the fields of a recipe, use jsonargparse.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import import_module

VERBS = {
    "analyze": "read the faces in photos and folders, or in a clip",
    "palsy": "compare the sides of a patient's face: grade, side, and what they rest on",
    "ask": "ask about a face in a photo, in words",
    "annotate": "caption and label pictures of faces, for training",
    "lesions": "find candidate lesions in a CT scan",
    "normal": "draw the healthy twin of a scan, and where it differs",
    "concept": "learn a subject from a few photos, and draw it",
    "make": "make a synthetic data set",
    "sheet": "draw a contact sheet of a data set",
    "train": "train a system",
    "evaluate": "measure a trained system",
    "export": "write networks as ONNX files, for use without this library",
    "claims": "what each paper claims, and what was measured here",
    "parts": "list, fetch or bring in third-party parts",
    "info": "versions, machine, weights and cache",
    "systems": "the published systems that are in here",
}
"""What each verb does; the verb ``x`` lives in ``semeia/cli/x.py`` as ``run(arguments) -> exit status``."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit status; argparse itself leaves with 2 on wrong use."""
    words = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name that is not text, or a terminal that knows no box characters, must not stop an answer.
            stream.reconfigure(errors="backslashreplace")
    args = _parser().parse_args([word for word in words if word != "--debug"])
    if args.version:
        from semeia import __version__

        print(f"semeia {__version__}")
        return 0
    if args.verb is None:
        _parser().print_help()
        return 2
    return _run(args.verb, args.rest, debug="--debug" in words)


def _parser() -> argparse.ArgumentParser:
    verbs = "\n".join(f"  {name:<10} {words}" for name, words in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="semeia",
        usage="semeia VERB ...",
        description="Reads signs in faces and in scans from few labels.",
        epilog=f"verbs:\n{verbs}\n\nsemeia VERB --help tells more. --debug, with any verb, shows where an error arose.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("verb", nargs="?", choices=VERBS, metavar="VERB", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _run(verb: str, arguments: list[str], *, debug: bool) -> int:
    try:
        status: int = import_module(f"semeia.cli.{verb}").run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("semeia: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone, as in `semeia ... | head`; Python would complain once more as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        from semeia.records import SemeiaError

        if debug or not isinstance(error, SemeiaError):
            raise
        print(f"semeia: {error}", file=sys.stderr)
        return 2
    return status
