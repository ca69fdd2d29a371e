"""A patient's reading as one page of HTML: the answer, what each requested movement showed, and clips over time.

One file without scripts or anything from elsewhere; pictures and plots are inside it. Right and left are laid out as in
the pictures: the subject's right on the left of the page.

Shapes      S side of a crop   T frames of a clip
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import isnan

import numpy as np
from PIL import Image

from semeia.media.clip_plots import LEFT, RIGHT
from semeia.media.surface import Colour, Surface
from semeia.media.wording import UNIT_NAMES
from semeia.ops.palsy_scales import EXERCISES
from semeia.records import PalsyCurve, PalsyMovement, PalsyPicture, PalsyReading

TOP = 5.0
"""FACS intensity at the end of a bar and at the upper edge of a plot."""

BESIDES = 3
"""Units that are told beside those asked for: the most uneven ones."""

MOST_PICTURES = 5
"""Of a movement."""

PLOT = (860, 74)
"""Width and height of a unit's plot in pixels."""

LIMITS = (
    "Not a medical device: the scale is hand-set and was learned from rendered faces; no clinician graded anything. "
    "Sides are the subject's own."
)


def palsy_page(patients: Mapping[str, PalsyReading]) -> str:
    """The page.

    Args:
        patients: Readings by the patient's name.
    """
    parts = [_patient(name, reading) for name, reading in patients.items()]
    return PAGE.format(style=STYLE, limits=escape(LIMITS), patients="\n".join(parts))


def _patient(name: str, reading: PalsyReading) -> str:
    """One patient."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in reading.notes)
    left_out = f"<h3>What was left out</h3><ul class=notes>{notes}</ul>" if notes else ""
    movements = "".join(_movement(movement, reading.pictures) for movement in reading.movements)
    curves = "".join(_curve(curve) for curve in reading.curves)
    return (
        f"<section><h2>{escape(name)}</h2>{_answer(reading)}{left_out}{movements}{curves}"
        f"<p class=small>Weights: {escape(reading.weights)}</p></section>"
    )


def _answer(reading: PalsyReading) -> str:
    """Grade, degree and side, and how sure they are."""
    if reading.grade is None or reading.degree is None or reading.certainty is None:
        return "<p class=none>No grade: nothing could be compared.</p>"
    sure = f", {reading.certainty:.0%} sure" if reading.side != "none" else ""
    facts = [
        ("Grade", reading.grade, f"{reading.grades[reading.grade]:.0%} of the probability"),
        ("Weak side", str(reading.side), f"the subject's own{sure}"),
        ("Degree", f"{reading.degree:.2f}", "share of movement that seems lost, 0 to 1"),
    ]
    if reading.composite is not None:
        facts.append(("Composite", str(reading.composite), "Sunnybrook-style, 100 is an even face"))
    if reading.resting is not None:
        facts.append(("At rest", " ".join(map(str, reading.resting)), "eye 0-1, cheek 0-2, mouth 0-1"))
    cards = "".join(f"<div class=fact><b>{a}</b><strong>{escape(b)}</strong><i>{c}</i></div>" for a, b, c in facts)
    bars = "".join(
        f"<div class=grade><div style='height:{60 * share:.1f}px'></div><span>{grade}</span><i>{share:.0%}</i></div>"
        for grade, share in reading.grades.items()
    )
    return f"<div class=facts>{cards}<div class=grades>{bars}</div></div>"


def _movement(movement: PalsyMovement, pictures: Sequence[PalsyPicture]) -> str:
    """What one movement showed: pictures with the regions that it is measured in, and bars."""
    units = told_units(movement)
    shown = [picture for picture in pictures if picture.exercise == movement.exercise][:MOST_PICTURES]
    images = "".join(
        f"<figure><img src='{_source(marked(picture, units))}' alt='{escape(movement.exercise)}'>"
        f"<figcaption>{escape(_place(picture))}</figcaption></figure>"
        for picture in shown
    )
    facts = [f"score {movement.severity:+.2f}"]
    if movement.share is not None:
        facts.append(f"{movement.share:.0%} of the movement left on the weak side")
    if movement.item is not None:
        facts.append(f"item {movement.item} of 5")
    if movement.synkinesis is not None:
        facts.append(f"synkinesis {movement.synkinesis} of 3")
    rows = "".join(
        _bar(unit, movement.left[unit], movement.right[unit], asked=_asked(movement, unit)) for unit in units
    )
    title = escape(movement.exercise.replace("_", " "))
    return (
        f"<h3>{title} <small>{escape(', '.join(facts))}</small></h3><div class=movement><div>{images}</div>"
        f"<table><tr><th></th><th class=right>the subject's right</th><th class=left>the subject's left</th></tr>"
        f"{rows}</table></div>"
    )


def told_units(movement: PalsyMovement) -> list[str]:
    """The units that a movement asks for, then the most uneven others."""
    asked = [unit for unit in EXERCISES[movement.exercise] if unit in movement.left]
    rest = sorted(
        (unit for unit in movement.left if unit not in asked),
        key=lambda unit: -abs(movement.left[unit] - movement.right[unit]),
    )
    return asked + rest[:BESIDES]


def _asked(movement: PalsyMovement, unit: str) -> bool:
    return unit in EXERCISES[movement.exercise]


def _place(picture: PalsyPicture) -> str:
    name = picture.file.replace("\\", "/").rpartition("/")[2]
    return name if picture.frame is None else f"{name}, frame {picture.frame}"


def marked(picture: PalsyPicture, units: Iterable[str]) -> np.ndarray:
    """The crop (S, S, 3) uint8 with the regions in which units were read, fuller where a side shows more."""
    image = Image.fromarray(picture.image)
    size = image.width
    layer = Surface((size, size), detail=3)
    for unit in units:
        for region, amount, colour in zip(
            picture.regions[unit], (picture.left[unit], picture.right[unit]), (LEFT, RIGHT), strict=True
        ):
            x, y, wide, high = (value * size for value in region)
            radius = max((wide + high) / 2, 2.0)
            layer.dot((x, y), radius, (*colour[:3], 120))
            layer.dot((x, y), radius * min(amount / TOP, 1.0), (*colour[:3], 255))
    return np.asarray(Image.alpha_composite(image.convert("RGBA"), layer.finish()).convert("RGB"))


def _source(image: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _bar(unit: str, left: float, right: float, *, asked: bool) -> str:
    """A row of the table: both sides grow from the middle."""
    name = f"{unit} <i>{escape(UNIT_NAMES.get(unit, ''))}</i>"
    bars = "".join(
        f"<td class={side}><span>{value:.1f}</span><div style='width:{100 * min(value / TOP, 1):.0f}px'></div></td>"
        for side, value in (("right", right), ("left", left))
    )
    return f"<tr{' class=asked' if asked else ''}><td>{name}</td>{bars}</tr>"


# Clips over time -----------------------------------------------------------------------------------------------------


def _curve(curve: PalsyCurve) -> str:
    """Plots of a clip, one for each unit that any of its movements asks for."""
    if not curve.seconds:
        return ""
    asked = dict.fromkeys(unit for exercise, _, _ in curve.parts for unit in EXERCISES[exercise])
    units = [unit for unit in asked if unit in curve.left]
    plots = "".join(
        f"<div class=plot><span>{unit} <i>{escape(UNIT_NAMES.get(unit, ''))}</i></span>{_plot(curve, unit)}</div>"
        for unit in units
    )
    name = escape(curve.file.replace("\\", "/").rpartition("/")[2])
    return (
        f"<h3>{name} over time <small>FACS 0 to 5; <b style='color:{_css(RIGHT)}'>the subject's right</b>, "
        f"<b style='color:{_css(LEFT)}'>the subject's left</b></small></h3>{plots}"
    )


def _plot(curve: PalsyCurve, unit: str) -> str:
    """Both sides of a unit over time as SVG, over the spans of the requested movements."""
    width, height = PLOT
    first = min([curve.seconds[0], *(start for _, start, _ in curve.parts)])
    last = max([curve.seconds[-1], *(end for _, _, end in curve.parts)])
    scale = width / max(last - first, 1e-3)
    spans = "".join(
        f"<rect x='{(start - first) * scale:.1f}' y='0' width='{(end - start) * scale:.1f}' height='{height}' "
        f"fill='{'#dfe7f5' if unit in EXERCISES[exercise] else '#f0f2f6'}'/>"
        f"<text x='{(start - first) * scale + 4:.1f}' y='11'>{escape(exercise.replace('_', ' '))}</text>"
        for exercise, start, end in curve.parts
    )
    lines = "".join(
        f"<polyline points='{points}' stroke='{_css(colour)}'/>"
        for values, colour in ((curve.right[unit], RIGHT), (curve.left[unit], LEFT))
        for points in _pieces(curve.seconds, values, first=first, scale=scale)
    )
    return f"<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}'>{spans}{lines}</svg>"


def _pieces(seconds: Sequence[float], values: Sequence[float], *, first: float, scale: float) -> list[str]:
    """Points of the lines of one side, broken where there was no face."""
    pieces: list[list[str]] = [[]]
    for time, value in zip(seconds, values, strict=True):
        if isnan(value):
            pieces.append([])
        else:
            y = PLOT[1] * (1 - min(value / TOP, 1.0))
            pieces[-1].append(f"{(time - first) * scale:.1f},{y:.1f}")
    return [" ".join(piece) for piece in pieces if piece]


def _css(colour: Colour) -> str:
    """As CSS writes it, dark enough for white ground."""
    red, green, blue = (round(0.8 * part) for part in colour[:3])
    return f"#{red:02x}{green:02x}{blue:02x}"


STYLE = f"""
body{{font:15px/1.45 system-ui,sans-serif;color:#1b1f27;background:#fff;
max-width:1180px;margin:24px auto;padding:0 20px}}
h1{{font-size:22px}} h2{{margin-top:36px;border-bottom:2px solid #d8dde6}} h3{{margin:26px 0 8px}}
h3 small{{font-weight:400;color:#5b6474}} i{{font-style:normal;color:#5b6474}}
.limits{{background:#fff4dc;border-left:5px solid #e0a100;padding:10px 14px}} .none{{font-size:18px}}
.facts{{display:flex;flex-wrap:wrap;gap:14px}} .fact{{border:1px solid #d8dde6;border-radius:8px;padding:10px 16px}}
.fact b,.fact i{{display:block;font-weight:400;font-size:13px}} .fact strong{{font-size:26px}}
.grades{{display:flex;gap:6px;align-items:flex-end;padding:6px 12px}} .grade{{width:40px;text-align:center}}
.grade div{{background:#4e79b7;border-radius:3px 3px 0 0;min-height:1px}}
.grade span,.grade i{{display:block;font-size:12px}}
.movement{{display:flex;flex-wrap:wrap;gap:18px;align-items:flex-start}}
.movement>div{{display:flex;flex-wrap:wrap;gap:6px}}
figure{{margin:0}} figure img{{width:190px;border-radius:8px;display:block}}
figcaption,.small{{font-size:12px;color:#5b6474}}
table{{border-collapse:collapse}} td,th{{padding:3px 6px;font-weight:400;font-size:13px;text-align:left}}
tr.asked td:first-child{{font-weight:600}} td.left,td.right{{width:140px}}
td div{{height:12px;border-radius:3px;display:inline-block;vertical-align:middle}} td span{{margin:0 6px}}
td.right,th.right{{text-align:right}} td.right div{{background:{_css(RIGHT)}}} td.left div{{background:{_css(LEFT)}}}
td.left span{{float:right}} td.right span{{float:left}}
.plot{{display:flex;gap:12px;align-items:center;margin:4px 0}} .plot>span{{width:210px;font-size:13px}}
svg{{background:#fafbfc;border:1px solid #d8dde6}} svg text{{font-size:10px;fill:#5b6474}}
polyline{{fill:none;stroke-width:1.8}}
"""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Facial palsy report</title><style>{style}</style></head><body>
<h1>Sides of a face in requested movements</h1>
<p class="limits">{limits}</p>
{patients}
</body></html>
"""
