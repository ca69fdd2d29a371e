"""What a rendered face costs, stage by stage, with each renderer in one run.

    python benchmarks/face_world.py --persons 6 --size 128

Seconds are CPU seconds of one thread; what all shots of a person share is divided by the shots. Both renderers draw the
same shots. Compilation is done before the clock starts.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Callable
from time import process_time
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

from semeia.data.synthetic.faces import make
from semeia.data.synthetic.faces.action_units import deform, sided, target_weights
from semeia.data.synthetic.faces.develop import develop
from semeia.data.synthetic.faces.figure import build_figure
from semeia.data.synthetic.faces.light import draw_sky, place_camera
from semeia.data.synthetic.faces.raster import RasterStudio
from semeia.data.synthetic.faces.render import PathStudio, choose_variant
from semeia.data.synthetic.faces.spec import FaceSpec, Stream, sample_spec
from semeia.data.synthetic.faces.stage import set_stage


class Clock:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def time(self, stage: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a function and count its time."""
        began = process_time()
        answer = function(*arguments, **named)
        self.seconds[stage] += process_time() - began
        return answer


def shoot(clock: Clock, spec: FaceSpec, studio: RasterStudio | PathStudio, *, size: int, samples: int) -> None:
    """One shot, stage by stage, as ``make.take`` makes it."""
    figure, person = studio.figure, spec.person
    shown = sided(spec.action, balance=person.balance, palsy=person.palsy, one_sided=spec.one_sided)
    weights = target_weights(shown, gaze=spec.gaze, palsy=person.palsy)
    acting = clock.time("act", deform, figure.neutral, weights)
    camera, sky = place_camera(spec, figure.neutral, size), draw_sky(spec.shot_stream(Stream.LIGHT))
    stage = clock.time("stage: surfaces, wrinkles, things", set_stage, spec, figure, acting, shown)
    traced = {} if isinstance(studio, RasterStudio) else {"samples": samples, "seed": 1}
    exposure = clock.time("light and surfaces", studio.expose, stage, camera, sky, **traced)
    clock.time("develop", develop, exposure, figure.skin, spec)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=6)
    parser.add_argument("--shots", type=int, default=7)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=16)
    args = parser.parse_args()
    routes: dict[str, Callable[..., RasterStudio | PathStudio]] = {
        "raster": RasterStudio,
        "paths": lambda figure: PathStudio(figure, variant=choose_variant()),
    }
    clocks = {}
    for route, studio_of in routes.items():
        for clock, people in ((Clock(), 1), (Clock(), args.persons)):
            for identity in range(people):
                spec = clock.time("draw", sample_spec, 11, identity, 0)
                figure = clock.time("person: head, skin, hair", build_figure, spec)
                studio = clock.time("studio", studio_of, figure)
                for shot in range(args.shots):
                    shoot(clock, sample_spec(11, identity, shot), studio, size=args.size, samples=args.samples)
        clocks[route] = clock.seconds
    images = args.persons * args.shots
    print(f"{args.size} px, {args.shots} shots a person, {images} images a route, {args.samples} light paths a pixel\n")
    print(f"| stage, ms an image | {' | '.join(clocks)} |")
    print("|---|" + "---|" * len(clocks))
    for stage in clocks["raster"]:
        row = " | ".join(f"{1000 * seconds[stage] / images:.1f}" for seconds in clocks.values())
        print(f"| {stage} | {row} |")
    totals = {route: sum(seconds.values()) / images for route, seconds in clocks.items()}
    print("| all | " + " | ".join(f"{1000 * total:.0f}" for total in totals.values()) + " |")
    print("| images an hour on 2 cores | " + " | ".join(f"{7200 / total:,.0f}" for total in totals.values()) + " |")
    print(f"\nraster over paths: {totals['paths'] / totals['raster']:.1f} times as fast; world {make.WORLD_VERSION}")


if __name__ == "__main__":
    main()
