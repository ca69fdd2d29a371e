"""``semeia export``: write networks as ONNX files, for use without this library."""

from __future__ import annotations

import argparse


def run(arguments: list[str]) -> int:
    """Write the file and print its name; see ``semeia export --help``."""
    parser = argparse.ArgumentParser(
        prog="semeia export",
        description="Write a network as an ONNX file that runs without this library. Labels, thresholds, the meaning "
        "of inputs and outputs, and the limits of use are stored in the file. Needs pip install 'semeia[onnx]'.",
        epilog="finder writes two files, NAME-detector.onnx and NAME-mesh.onnx. docs/onnx.md tells how to use them.",
    )
    parser.add_argument("network", choices=("qface", "finder"), help="the face reader, or the face finder's networks")
    parser.add_argument("--out", required=True, metavar="NAME.onnx", help="file to write")
    parser.add_argument("--weights", metavar="WEIGHTS", help="of qface: bundled name or checkpoint folder")
    args = parser.parse_args(arguments)
    if args.network == "finder" and args.weights:
        parser.error("--weights is for qface; the face finder has only one")

    from semeia.predict.onnx import export_finder, export_qface

    if args.network == "finder":
        print(*export_finder(args.out), sep="\n")
    else:
        print(export_qface(args.weights or "qface", args.out))
    return 0
