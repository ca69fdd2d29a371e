"""A scan or picture and its twin as one page of HTML: a slider between both, and one through the slices.

One file with all that it needs inside and nothing from elsewhere. Large scans are shrunk and thinned out so that the
page stays below ``MAX_BYTES``; the slices with most to see stay. Slices are seen from the feet.

Shapes      H, W slice in pixels   h, w shown pixels
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from semeia.files import write_whole
from semeia.media.page_text import embedded, page_text
from semeia.media.twin_pictures import FULL, Twins, display_window, greys, outline, shown_size, tint
from semeia.media.twin_reading import NOTICE, TwinReading
from semeia.media.twin_volumes import Shown

MAX_BYTES = 25_000_000
"""Of a page."""
MAX_SIDE = 384
"""Pixels of the longer side of a slice as shown."""
QUALITY = 82
KEPT = 40
"""Slices with most to see that are kept where others are left out."""
LISTED = 200
"""Slices in the list, those with the largest areas."""
_SAMPLES = 7
_TEXT_BYTES = 500_000
"""Room for words and script beside the pictures."""


def twin_page(reading: TwinReading, twins: Twins, ranked: Sequence[int], *, max_bytes: int = MAX_BYTES) -> str:
    """The page, as ASCII.

    Args:
        reading: Of the twins.
        twins: Where slices come from.
        ranked: Slices, those with most to see first.
        max_bytes: Of the page; where it is too small for the slices that are kept, the page gets larger.
    """
    shown = _shown(reading, twins, ranked, max_bytes)
    slices = [{"z": z, "own": twins.own(z), **_pictures(twins.shown(z), reading, twins)} for z in shown]
    data = {"total": twins.count, "start": shown.index(ranked[0]), "slices": slices}
    wide, high = shown_size(reading.shape[1:], twins.pixel_mm, MAX_SIDE)
    page = PAGE.format(
        title=page_text(Path(reading.source).name), style=STYLE.replace("RATIO", f"{wide} / {high}"),
        limits=page_text(NOTICE), facts=_facts(reading), rows=_rows(reading, twins, shown),
        notes=_notes(reading, shown),
        last=len(shown) - 1, hidden=" hidden" if twins.count == 1 else "",
        sides='<b style="left:.6rem">R</b><b style="right:.6rem">L</b>' if twins.sides else "",
        colours=page_text(_colours(reading)), data=embedded(data), script=SCRIPT,
    )  # fmt: skip
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def write_page(reading: TwinReading, twins: Twins, ranked: Sequence[int], path: str | Path) -> None:
    """Write ``twin_page``, whole or not at all.

    Raises:
        SemeiaError: The file cannot be written.
    """
    write_whole(path, twin_page(reading, twins, ranked).encode("ascii"))


# Pictures ------------------------------------------------------------------------------------------------------------


def _shown(reading: TwinReading, twins: Twins, ranked: Sequence[int], max_bytes: int) -> list[int]:
    """Slices that fit: every k-th from the first one, those with most to see, and the last."""
    count, kept = twins.count, set(ranked[:KEPT])
    sample = sorted({ranked[0], *(round(place) for place in np.linspace(0, count - 1, _SAMPLES).tolist())})
    sizes = [sum(len(text) for text in _pictures(twins.shown(z), reading, twins).values()) for z in sample]
    # The largest of the sampled slices stands for all, so that the estimate is no underestimate.
    room = max((max_bytes - _TEXT_BYTES) // max(sizes) - len(kept) - 1, 2)
    return sorted({*range(0, count, -(-count // room)), count - 1} | kept)


def _pictures(slice_: Shown, reading: TwinReading, twins: Twins) -> dict[str, str]:
    """A slice's input, twin, difference and outline as base64: JPEG, and PNG where colours are transparent."""
    window, shape = display_window(slice_, reading, twins.pixel_mm), slice_.before.shape
    side = min(MAX_SIDE, max(shape))
    size = shown_size(shape, twins.pixel_mm, side)
    likelihood = np.asarray(Image.fromarray(slice_.likelihood).resize(size, Image.Resampling.BILINEAR))
    return {
        "before": _base64(Image.fromarray(greys(slice_.before, window)), size, "JPEG"),
        "after": _base64(Image.fromarray(greys(slice_.after, window)), size, "JPEG"),
        "difference": _base64(Image.fromarray(tint(slice_.after - slice_.before, reading.window)), size, "PNG"),
        "outline": _base64(Image.fromarray(outline(likelihood, reading.threshold)), size, "PNG"),
    }


def _base64(picture: Image.Image, size: tuple[int, int], kind: str) -> str:
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS if kind == "JPEG" else Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    if kind == "PNG":
        # 64 shades and 16 degrees of opacity look the same and take a part of the room.
        picture = Image.fromarray(np.asarray(picture) & np.array([252, 252, 252, 240], np.uint8))
        picture.save(stream, kind, optimize=False)
    else:
        picture.save(stream, kind, quality=QUALITY)
    return base64.b64encode(stream.getvalue()).decode()


# Words ---------------------------------------------------------------------------------------------------------------


def _facts(reading: TwinReading) -> str:
    slices, rows, columns = reading.shape
    parts = [f"{slices} slice{'s' * (slices != 1)} of {columns} x {rows} pixels"]
    if reading.spacing_mm is not None:
        x, y, z = reading.spacing_mm
        parts.append(f"{x:.3g} x {y:.3g} mm, {z:.3g} mm apart")
    if reading.volume_mm3 is not None:
        parts.append(f"{reading.volume_mm3 / 1000:.3g} ml with a likelihood of {reading.threshold:g} or more")
    else:
        parts.append(f"{reading.pixels} pixels with a likelihood of {reading.threshold:g} or more")
    if reading.largest is not None:
        parts.append(f"largest difference {reading.largest.value:+.4g} {reading.unit}, slice {reading.largest.index}")
    return f"{page_text('. '.join(parts))}. Weights: {page_text(reading.weights)}."


def _colours(reading: TwinReading) -> str:
    low, high = reading.window
    return (
        f"Red: the twin is brighter than the input; blue: darker; full colour from {FULL * (high - low):.3g} "
        f"{reading.unit} on. Yellow: likelihood of {reading.threshold:g} or more. The network saw {low:g} to "
        f"{high:g} {reading.unit}; values beyond are the input's own."
    )


def _rows(reading: TwinReading, twins: Twins, shown: Sequence[int]) -> str:
    """The slices with likelihood over the threshold, largest first; each jumps to the nearest slice on the page."""
    at = {twins.own(z): z for z in range(twins.count)}
    rows = []
    for each in sorted(reading.slices, key=lambda each: -each.pixels)[:LISTED]:
        place = min(range(len(shown)), key=lambda i: abs(shown[i] - at[each.index]))
        area = f"{each.area_mm2:.0f} mm&sup2;" if each.area_mm2 is not None else f"{each.pixels} px"
        rows.append(
            f'<tr><td><button type="button" data-place="{place}">Slice {each.index}</button></td><td>{area}</td>'
            f"<td>{each.peak:.2f}</td></tr>"
        )
    return "".join(rows) or "<tr><td colspan=3>No slice is over the threshold.</td></tr>"


def _notes(reading: TwinReading, shown: Sequence[int]) -> str:
    count, rows, columns = reading.shape
    notes = list(reading.notes)
    if len(shown) < count:
        notes.append(f"{len(shown)} of {count} slices are on this page, to keep it small; all of them were read.")
    if max(rows, columns) > MAX_SIDE:
        notes.append(f"Slices are shown with {MAX_SIDE} pixels on their longer side; the files have all of them.")
    return "".join(f"<li>{page_text(note)}</li>" for note in notes)


STYLE = """
:root{color-scheme:dark}
*{box-sizing:border-box}
body{margin:0;padding:1rem 1.25rem;font:15px/1.45 system-ui,sans-serif;background:#13151b;color:#eef0f5}
h1{font-size:1.25rem;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1rem;margin:1rem 0 .4rem}
aside h2:first-child{margin-top:0}
p{margin:.25rem 0}
.limits{color:#ffcd48}
main{display:flex;flex-wrap:wrap;gap:1.25rem;margin-top:.75rem}
.picture{flex:1 1 420px;max-width:900px}
#view{position:relative;width:min(100%,calc((100vh - 17rem) * RATIO),900px);min-width:min(100%,320px);
aspect-ratio:RATIO;background:#000;border-radius:6px;overflow:hidden;outline-offset:3px;touch-action:none;
cursor:ew-resize}
#view img{position:absolute;inset:0;width:100%;height:100%}
#view b{position:absolute;top:50%;transform:translateY(-50%);text-shadow:0 0 3px #000}
#line{position:absolute;top:0;bottom:0;width:2px;margin-left:-1px;background:#ffcd48}
.tag{position:absolute;top:.5rem;padding:0 .45em;border-radius:4px;background:#13151bcc;font-size:13px}
.row{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;margin:.5rem 0}
.row[hidden],[hidden]{display:none}
.row label{display:flex;gap:.6rem;align-items:center;flex:1 1 240px}
input[type=range]{flex:1;accent-color:#ffcd48}
[role=group]{display:flex;gap:.35rem}
button{font:inherit;color:inherit;background:#1d2029;border:1px solid #343946;border-radius:6px;padding:.2rem .65rem;
cursor:pointer}
button:hover{border-color:#9aa1b1}
button[aria-pressed=true]{background:#ffcd48;color:#111318;border-color:#ffcd48}
:focus-visible{outline:2px solid #9abeff}
aside{flex:1 1 280px;max-width:520px;max-height:calc(100vh - 9rem);overflow:auto}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.22rem .6rem .22rem 0;border-bottom:1px solid #1d2029;font-weight:400}
th,.dim,aside li{color:#9aa1b1}
ul{padding-left:1.2rem;margin:.25rem 0}
"""

SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const slider = at("slice"), wipe = at("wipe"), view = at("view"), after = at("after");
const layers = {difference: false, outline: true};
let place = data.start;

function draw() {
  const slice = data.slices[place];
  at("before").src = "data:image/jpeg;base64," + slice.before;
  after.src = "data:image/jpeg;base64," + slice.after;
  for (const name of Object.keys(layers)) {
    at(name).src = "data:image/png;base64," + slice[name];
    at(name).hidden = !layers[name];
  }
  const words = "Slice " + slice.own + ", " + (slice.z + 1) + " of " + data.total
    + (data.total > 1 ? " from the feet" : "");
  at("before").alt = "Input. " + words;
  after.alt = "Twin, made up. " + words;
  at("told").textContent = words;
  slider.value = place;
  slider.setAttribute("aria-valuetext", words);
  for (const button of document.querySelectorAll("[data-layer]"))
    button.setAttribute("aria-pressed", String(layers[button.dataset.layer]));
  const share = Number(wipe.value);
  after.style.clipPath = "inset(0 0 0 " + share + "%)";
  at("line").style.left = share + "%";
}

function go(to) {
  place = Math.min(Math.max(to, 0), data.slices.length - 1);
  draw();
}

slider.addEventListener("input", () => go(Number(slider.value)));
wipe.addEventListener("input", draw);
for (const button of document.querySelectorAll("[data-layer]"))
  button.addEventListener("click", () => { layers[button.dataset.layer] = !layers[button.dataset.layer]; draw(); });
for (const button of document.querySelectorAll("[data-place]"))
  button.addEventListener("click", () => go(Number(button.dataset.place)));
let held = false;
function pull(event) {
  const box = view.getBoundingClientRect();
  wipe.value = Math.min(Math.max(100 * (event.clientX - box.left) / box.width, 0), 100);
  draw();
}
view.addEventListener("pointerdown", event => { held = true; view.setPointerCapture?.(event.pointerId); pull(event); });
view.addEventListener("pointermove", event => { if (held) pull(event); });
for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, () => { held = false; });
let turned = 0;
view.addEventListener("wheel", event => {
  event.preventDefault();
  turned += event.deltaMode === 0 ? event.deltaY / 60 : event.deltaY;
  const steps = Math.trunc(turned);
  turned -= steps;
  if (steps) go(place - steps);
}, {passive: false});
const KEYS = {ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target === wipe) return;
  if (event.target?.closest?.("aside")) return; // there the keys scroll the list
  if (event.key in KEYS) {
    event.preventDefault();
    go(place + KEYS[event.key]);
  } else if (event.key === "d") {
    layers.difference = !layers.difference;
    draw();
  }
});
draw();
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}: pseudo-normal twin</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{facts}</p>
<p class="limits">{limits}</p>
</header>
<noscript><p>The sliders need JavaScript; the list below does not.</p></noscript>
<main>
<section class="picture" aria-label="Input and twin">
<div id="view" tabindex="0" aria-label="Left of the line the input, right of it the twin; drag the line">
<img id="before" alt="Input" draggable="false">
<img id="after" alt="Twin" draggable="false">
<img id="difference" alt="" draggable="false" hidden>
<img id="outline" alt="" draggable="false">
<div id="line" aria-hidden="true"></div>
<span class="tag" style="left:.5rem">input</span><span class="tag" style="right:.5rem">twin</span>
{sides}
</div>
<div class="row">
<label>Input, twin <input id="wipe" type="range" min="0" max="100" step="0.5" value="50"></label>
<span role="group" aria-label="Layers">
<button type="button" data-layer="difference" aria-pressed="false">difference</button>
<button type="button" data-layer="outline" aria-pressed="true">likelihood</button>
</span>
</div>
<div class="row"{hidden}>
<label>Slice <input id="slice" type="range" min="0" max="{last}" step="1" value="0"></label>
</div>
<p id="told" class="dim" aria-live="polite"></p>
<p class="dim">Drag in the picture: from input to twin. Wheel, up and down: slice by slice. Page up and down: ten
slices. D: the difference.</p>
<p class="dim">{colours}</p>
</section>
<aside>
<h2>Where the likelihood is high</h2>
<table>
<thead><tr><th scope="col">Slice</th><th scope="col">Area</th><th scope="col">Peak</th></tr></thead>
<tbody>{rows}</tbody>
</table>
<h2>Notes</h2>
<ul>
{notes}
<li>The twin is what a network makes of the input, not what the patient looked like before. A difference may be a
mistake of the network, and a lesion may stay in the twin.</li>
</ul>
</aside>
</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""
