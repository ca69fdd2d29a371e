"""Candidate lesions of a scan as one page of HTML to scroll through.

One file with all that it needs inside: slices as JPEG in a lung and a soft-tissue window, boxes as SVG over them, a
short script, and nothing from elsewhere. Large scans are shrunk and thinned out so that the page stays below
``MAX_BYTES``; slices where a lesion is largest always stay. Slices are seen from the feet: the patient's right is on
the left of the page.

Shapes      H, W slice in pixels   h, w shown pixels
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semeia.files import check_writable, write_whole
from semeia.media.lesion_boxes import NOTICE, PlacedBox, key_boxes, placed_boxes
from semeia.media.lesion_pictures import WINDOWS, fitting_window, windowed
from semeia.media.page_text import embedded, page_text
from semeia.media.volumes import Volume
from semeia.records import ScanReading, SemeiaError

MAX_BYTES = 25_000_000
"""Of a page."""
MAX_SIDE = 384
"""Pixels of the longer side of a slice as shown."""
QUALITY = 80
KEPT = 60
"""Lesions, the best ones, whose largest slice is kept where slices are left out."""
_SAMPLES = 9
_TEXT_BYTES = 2_000_000
"""Room for boxes, words and script beside the pictures."""


def lesion_page(reading: ScanReading, scan: Volume, *, max_bytes: int = MAX_BYTES) -> str:
    """The page, as ASCII.

    Args:
        reading: Of the scan.
        scan: Its voxels.
        max_bytes: Of the page; where it is too small for the lesions' own slices, the page gets larger.
    """
    boxes = placed_boxes(reading, scan)
    keys = key_boxes(boxes)
    shown = _shown(scan, {keys[number].z for number in sorted(keys)[:KEPT]}, max_bytes)
    slices = []
    windows = {}
    for z in shown:
        slice_hu = scan.slab(z, z)[0]
        for number, key in keys.items():
            if key.z == z:
                windows[number] = fitting_window(slice_hu, key.box, scan.spacing[:2])
        pictures = {name: _jpeg(slice_hu, scan, limits) for name, limits in WINDOWS.items()}
        slices.append({"z": z, "own": scan.own_slice(z), "pictures": pictures})
    for entry in slices:
        entry["boxes"] = [_told_box(box) for box in boxes if box.z == entry["z"]]
    _, rows, columns = scan.shape
    middle = keys[min(keys)].z if keys else shown[len(shown) // 2]
    data = {
        "size": [columns, rows],
        "total": scan.shape[0],
        "slices": slices,
        "start": shown.index(min(shown, key=lambda z: abs(z - middle))),
        "window": windows.get(min(keys), "soft tissue") if keys else "soft tissue",
    }
    wide, high = columns * scan.spacing[0], rows * scan.spacing[1]
    page = PAGE.format(
        title=page_text(Path(reading.scan).name), style=STYLE.replace("RATIO", f"{wide:.6g} / {high:.6g}"),
        limits=page_text(NOTICE), facts=_facts(reading, scan), lesions=_lesions(reading, keys, shown, windows),
        notes=_notes(reading, scan, shown), windows=_window_buttons(), last=len(shown) - 1, data=embedded(data),
        script=SCRIPT, frame=f"0 0 {columns} {rows}",
    )  # fmt: skip
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def write_page(reading: ScanReading, scan: Volume, path: str | Path) -> None:
    """Write ``lesion_page``, whole or not at all.

    Raises:
        SemeiaError: Another suffix, or the file cannot be written.
    """
    _suffix(path)
    write_whole(path, lesion_page(reading, scan).encode("ascii"))


def check_page(path: str | Path) -> None:
    """Make sure, before long work begins, that ``write_page`` will be able to write to ``path``.

    Raises:
        SemeiaError: Another suffix than ``.html``, or the file cannot be written.
    """
    _suffix(path)
    check_writable(path)


def _suffix(path: str | Path) -> None:
    suffix = Path(path).suffix.lower()
    if suffix not in (".html", ".htm"):
        raise SemeiaError(f"{path}: expected a page that ends in .html, found {suffix or 'no suffix'!r}")


# Pictures ------------------------------------------------------------------------------------------------------------


def _shown(scan: Volume, kept: set[int], max_bytes: int) -> list[int]:
    """Axial slices that fit: every k-th from the first one, those to keep, and the last."""
    count = scan.shape[0]
    sample = sorted({round(place) for place in np.linspace(0, count - 1, _SAMPLES).tolist()})
    sizes = [sum(len(_jpeg(scan.slab(z, z)[0], scan, limits)) for limits in WINDOWS.values()) for z in sample]
    # The largest of the sampled slices stands for all, so that the estimate is no underestimate.
    room = max((max_bytes - _TEXT_BYTES) // max(sizes) - len(kept) - 1, 2)
    step = -(-count // room)
    return sorted({*range(0, count, step), count - 1} | kept)


def _jpeg(slice_hu: np.ndarray, scan: Volume, window: tuple[float, float]) -> str:
    """A slice as base64, with square pixels, shrunk to ``MAX_SIDE``."""
    height, width = slice_hu.shape
    column, row, _ = scan.spacing
    wide, high = width * column, height * row
    scale = min(MAX_SIDE, max(width, height)) / max(wide, high)
    size = max(round(wide * scale), 1), max(round(high * scale), 1)
    picture = Image.fromarray(windowed(slice_hu, window))
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=QUALITY)
    return base64.b64encode(data.getvalue()).decode()


# Words ---------------------------------------------------------------------------------------------------------------


def _told_box(box: PlacedBox) -> dict[str, Any]:
    return {"box": [round(v, 2) for v in box.box], "score": round(box.score, 4), "lesion": box.lesion}


def _facts(reading: ScanReading, scan: Volume) -> str:
    count = len(reading.lesions)
    found = "No candidate lesion found" if not count else f"{count} candidate lesion{'s' if count > 1 else ''}"
    slices, rows, columns = scan.shape
    x, y, z = scan.spacing
    return (
        f"<strong>{found}.</strong> {slices} slices of {columns} x {rows} pixels, {x:.3g} x {y:.3g} mm, "
        f"{z:.3g} mm apart. Weights: {page_text(reading.weights)}."
    )


def _notes(reading: ScanReading, scan: Volume, shown: Sequence[int]) -> str:
    count, rows, columns = scan.shape
    notes = list(reading.notes)
    if len(shown) < count:
        notes.append(f"{len(shown)} of {count} slices are on this page, to keep it small; all of them were read.")
    if max(rows, columns) > MAX_SIDE:
        notes.append(f"Slices are shown with {MAX_SIDE} pixels on their longer side; boxes are exact.")
    return "".join(f"<li>{page_text(note)}</li>" for note in notes)


def _window_buttons() -> str:
    return "".join(
        f'<button type="button" data-window="{escape(name)}" aria-pressed="false" '
        f'title="{low:.0f} to {high:.0f} HU">{escape(name)}</button>'
        for name, (low, high) in WINDOWS.items()
    )


def _lesions(reading: ScanReading, keys: dict[int, PlacedBox], shown: Sequence[int], windows: dict[int, str]) -> str:
    """Rows of the list; a lesion without a box, or whose slice was left out, jumps to the nearest slice or nowhere."""
    rows = []
    for number, lesion in enumerate(reading.lesions, start=1):
        name, first, last = f"Lesion {number}", *lesion.slices
        if number in keys:
            key = keys[number]
            place = min(range(len(shown)), key=lambda i: abs(shown[i] - key.z))
            name = (
                f'<button type="button" data-place="{place}" data-window-of="{windows.get(number, "")}">'
                f"{name}<span class=hidden>, show slice {key.own_slice}</span></button>"
            )
        span = f"{first} to {last}" if first != last else str(first)
        rows.append(
            f'<tr data-score="{lesion.score:.4f}" data-lesion="{number}"><td>{name}</td><td>{lesion.score:.2f}</td>'
            f"<td>{span}</td><td>{lesion.long_mm:.1f} x {lesion.short_mm:.1f}</td></tr>"
        )
    return "".join(rows)


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
#view{position:relative;width:min(100%,calc((100vh - 16rem) * RATIO),900px);min-width:min(100%,320px);
aspect-ratio:RATIO;background:#000;border-radius:6px;overflow:hidden;outline-offset:3px}
.picture{flex:1 1 420px;max-width:900px}
#view img,#view svg{position:absolute;inset:0;width:100%;height:100%}
#view rect{fill:none;stroke:#ffcd48;stroke-width:2;vector-effect:non-scaling-stroke}
#view rect.loose{stroke:#9abeff;stroke-dasharray:5 4}
#view b{position:absolute;top:50%;transform:translateY(-50%);text-shadow:0 0 3px #000}
.tag{position:absolute;transform:translate(-50%,calc(-100% - 4px));padding:0 .35em;border-radius:4px;
background:#ffcd48;color:#111318;font-size:13px;white-space:nowrap}
.tag.loose{background:#9abeff}
.tag.below{transform:translate(-50%,4px)}
.row{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;margin:.5rem 0}
.row label{display:flex;gap:.6rem;align-items:center;flex:1 1 240px}
input[type=range]{flex:1;accent-color:#ffcd48}
[role=group]{display:flex;gap:.35rem}
button{font:inherit;color:inherit;background:#1d2029;border:1px solid #343946;border-radius:6px;padding:.2rem .65rem;
cursor:pointer}
button:hover{border-color:#9aa1b1}
button[aria-pressed=true]{background:#ffcd48;color:#111318;border-color:#ffcd48}
:focus-visible{outline:2px solid #9abeff}
aside{flex:1 1 300px;max-width:560px}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.22rem .6rem .22rem 0;border-bottom:1px solid #1d2029;font-weight:400}
th,.dim,aside li{color:#9aa1b1}
tr.faint{opacity:.35}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
ul{padding-left:1.2rem;margin:.25rem 0}
"""

SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const picture = at("picture"), shapes = at("shapes"), tags = at("tags"), slider = at("slice"), least = at("least");
let place = data.start, seen = data.window;
const NS = "http://www.w3.org/2000/svg";

function draw() {
  const slice = data.slices[place];
  picture.src = "data:image/jpeg;base64," + slice.pictures[seen];
  shapes.replaceChildren();
  tags.replaceChildren();
  let shown = 0;
  for (const one of slice.boxes) {
    if (one.score < Number(least.value)) continue;
    shown += 1;
    const [x0, y0, x1, y1] = one.box, rect = document.createElementNS(NS, "rect");
    const sides = {x: x0, y: y0, width: x1 - x0, height: y1 - y0};
    for (const name of Object.keys(sides)) rect.setAttribute(name, sides[name]);
    const tag = document.createElement("span"), below = y0 < 0.08 * data.size[1];
    tag.textContent = (one.lesion === null ? "" : one.lesion + "  ") + one.score.toFixed(2);
    tag.className = "tag" + (one.lesion === null ? " loose" : "") + (below ? " below" : "");
    tag.style.left = 100 * Math.min(Math.max((x0 + x1) / 2 / data.size[0], 0.06), 0.94) + "%";
    tag.style.top = 100 * (below ? y1 : y0) / data.size[1] + "%";
    if (one.lesion === null) rect.setAttribute("class", "loose");
    shapes.append(rect);
    tags.append(tag);
  }
  const words = "Slice " + slice.own + ", " + (slice.z + 1) + " of " + data.total + " from the feet, "
    + shown + (shown === 1 ? " candidate box" : " candidate boxes") + ", " + seen + " window";
  picture.alt = "Axial CT. " + words;
  at("told").textContent = words;
  slider.value = place;
  slider.setAttribute("aria-valuetext", words);
  for (const button of document.querySelectorAll("[data-window]"))
    button.setAttribute("aria-pressed", String(button.dataset.window === seen));
}

function go(to) {
  place = Math.min(Math.max(to, 0), data.slices.length - 1);
  draw();
}

slider.addEventListener("input", () => go(Number(slider.value)));
least.addEventListener("input", () => {
  at("leastTold").textContent = Number(least.value).toFixed(2);
  for (const row of document.querySelectorAll("[data-score]"))
    row.classList.toggle("faint", Number(row.dataset.score) < Number(least.value));
  draw();
});
for (const button of document.querySelectorAll("[data-window]"))
  button.addEventListener("click", () => { seen = button.dataset.window; draw(); });
for (const button of document.querySelectorAll("[data-place]"))
  button.addEventListener("click", () => {
    if (button.dataset.windowOf) seen = button.dataset.windowOf;
    go(Number(button.dataset.place));
  });
let turned = 0;
at("view").addEventListener("wheel", event => {
  event.preventDefault();
  turned += event.deltaMode === 0 ? event.deltaY / 60 : event.deltaY;
  const steps = Math.trunc(turned);
  turned -= steps;
  if (steps) go(place - steps);
}, {passive: false});
const KEYS = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10,
  Home: -Infinity, End: Infinity};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target === least) return;
  if (event.target?.closest?.("aside")) return; // there the keys scroll the list
  if (event.key in KEYS) {
    event.preventDefault();
    go(place + KEYS[event.key]);
  } else if (event.key === "w") {
    const names = Object.keys(data.slices[0].pictures);
    seen = names[(names.indexOf(seen) + 1) % names.length];
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
<title>{title}: candidate lesions</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{facts}</p>
<p class="limits">{limits}</p>
</header>
<noscript><p>Scrolling through the slices needs JavaScript; the list below does not.</p></noscript>
<main>
<section class="picture" aria-label="Slices">
<div id="view" tabindex="0" aria-label="Slice; turn the wheel or use the arrow keys">
<img id="picture" alt="Axial CT" draggable="false">
<svg id="shapes" viewBox="{frame}" preserveAspectRatio="none" aria-hidden="true"></svg>
<div id="tags" aria-hidden="true"></div>
<b style="left:.6rem">R</b><b style="right:.6rem">L</b>
</div>
<div class="row">
<label>Slice <input id="slice" type="range" min="0" max="{last}" step="1" value="0"></label>
<span role="group" aria-label="Window">{windows}</span>
</div>
<p id="told" class="dim" aria-live="polite"></p>
<div class="row">
<label>Hide scores below <input id="least" type="range" min="0" max="1" step="0.01" value="0">
<output id="leastTold" for="least">0.00</output></label>
</div>
<p class="dim">Wheel or arrow keys: slice by slice. Page up and down: ten slices. Home, End: feet, head. W: the other
window. The patient's right is on the left.</p>
</section>
<aside>
<h2>Candidate lesions</h2>
<table>
<thead><tr><th scope="col">Lesion</th><th scope="col">Score</th><th scope="col">Slices</th>
<th scope="col">Axes, mm</th></tr></thead>
<tbody>{lesions}</tbody>
</table>
<h2>Notes</h2>
<ul>
{notes}
<li>Slices have the numbers of the file, from 0. Dashed boxes belong to no lesion. Axes are the sides of the box on the
slice where the lesion is largest. Scores are the detector's own and no probabilities of disease.</li>
</ul>
</aside>
</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""
