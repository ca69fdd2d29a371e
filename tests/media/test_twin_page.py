"""The page of a twin holds all that it shows, and nothing of it comes from elsewhere."""

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from semeia.media.twin_page import SCRIPT, twin_page, write_page

from .test_twin_pictures import reading_of, twins_of

EVIL = "<b>'\"&</script><script>alert(1)</script>"
RANKED = [8, 9, *range(8), 10, 11]


class Page(HTMLParser):
    """Sees that tags close, and keeps what matters."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.data = [], [], {}
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            tag, attrs = self.open[-1]
            self.data[attrs.get("id", tag)] = self.data.get(attrs.get("id", tag), "") + data

    @property
    def embedded(self):
        return json.loads(self.data["data"])


def picture(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_the_page_has_each_slice_four_times_and_starts_where_most_is():
    data = Page(twin_page(reading_of(), twins_of(), RANKED)).embedded
    assert [each["own"] for each in data["slices"]] == list(range(12))
    assert data["start"] == 8
    entry = data["slices"][8]
    kinds = {name: picture(entry[name]).format for name in ("before", "after", "difference", "outline")}
    assert kinds == {"before": "JPEG", "after": "JPEG", "difference": "PNG", "outline": "PNG"}
    assert picture(entry["before"]).size == (28, 32)  # square pixels
    assert np.asarray(picture(entry["difference"]))[..., 3].max() == 240
    assert np.asarray(picture(data["slices"][0]["difference"]))[..., 3].max() == 0


def test_nothing_comes_from_elsewhere_and_evil_names_stay_text(tmp_path):
    write_page(reading_of(source=EVIL, notes=(EVIL, "\udcff")), twins_of(), RANKED, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_bytes().decode("ascii")
    page = Page(text)
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not re.search(r"https?://", text)
    assert not [attrs for _, attrs in page.tags if {"href", "onclick", "onload"} & attrs.keys()]
    assert not [attrs for tag, attrs in page.tags if tag == "img" and "src" in attrs]


def test_a_large_scan_is_thinned_out_but_keeps_what_matters():
    reading, twins = reading_of(slices=400), twins_of(400, ill=(333,))
    whole = twin_page(reading, twins, [333, *range(333)])
    data = Page(twin_page(reading, twins, [333], max_bytes=len(whole) // 4 + 500_000)).embedded
    own = [each["own"] for each in data["slices"]]
    assert len(own) < 200
    assert {0, 333, 399} <= set(own)
    assert own[data["start"]] == 333


def test_a_picture_has_no_slices_to_scroll_and_no_sides():
    page = Page(twin_page(replace(reading_of(slices=1), slices=()), twins_of(1, sides=False), [0]))
    assert any(tag == "div" and "hidden" in attrs for tag, attrs in page.tags)
    assert not any(tag == "b" for tag, _ in page.tags)


DOM = """
const elements = {}, listeners = {};
class Element {
  constructor(name) { Object.assign(this, {name, style: {}, dataset: {}, attributes: {}, on: {}, value: "50"}); }
  setAttribute(key, value) { this.attributes[key] = value; }
  addEventListener(kind, call) { this.on[kind] = call; }
  getBoundingClientRect() { return {left: 100, width: 200}; }
}
const buttons = ["difference", "outline"].map(n => Object.assign(new Element("button"), {dataset: {layer: n}}));
const jumps = [8, 3].map(place => Object.assign(new Element("button"), {dataset: {place: String(place)}}));
const document = {
  getElementById: id => elements[id] ??= new Element(id),
  querySelectorAll: which => ({"[data-layer]": buttons, "[data-place]": jumps})[which],
  addEventListener: (kind, call) => listeners[kind] = call,
};
const key = name => listeners.keydown({key: name, preventDefault() {}});
const wheel = by => elements.view.on.wheel({deltaMode: 0, deltaY: by, preventDefault() {}});
const now = () => Number(elements.slice.value);
"""

STEPS = """
const out = {start: now(), told: elements.told.textContent, clip: elements.after.style.clipPath};
out.layers = [elements.difference.hidden, elements.outline.hidden];
key("ArrowUp"); out.up = now(); key("Home"); out.home = now(); key("ArrowDown"); out.under = now();
key("End"); out.end = now(); key("PageDown"); out.page = now();
jumps[1].on.click(); out.jump = now(); wheel(60); out.wheel = now();
key("d"); buttons[1].on.click(); out.toggled = [elements.difference.hidden, elements.outline.hidden];
out.pressed = buttons.map(b => b.attributes["aria-pressed"]);
elements.view.on.pointermove({clientX: 150}); out.loose = elements.line.style.left;
elements.view.on.pointerdown({clientX: 150, pointerId: 1}); out.pulled = elements.line.style.left;
elements.view.on.pointermove({clientX: 900}); out.far = elements.after.style.clipPath;
elements.view.on.pointerup(); elements.view.on.pointermove({clientX: 150}); out.dropped = elements.line.style.left;
elements.slice.value = "5"; elements.slice.on.input(); out.slider = elements.before.alt;
console.log(JSON.stringify(out));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_script_scrolls_wipes_and_hides(tmp_path):
    data = Page(twin_page(reading_of(), twins_of(), RANKED)).embedded
    given = f'document.getElementById("data").textContent = {json.dumps(json.dumps(data))};'
    (tmp_path / "page.cjs").write_text(DOM + given + SCRIPT.replace('"use strict";', "") + STEPS)
    done = subprocess.run(["node", tmp_path / "page.cjs"], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert (out["start"], out["told"]) == (8, "Slice 8, 9 of 12 from the feet")
    assert out["clip"] == "inset(0 0 0 50%)"
    assert out["layers"] == [True, False]
    assert (out["up"], out["home"], out["under"], out["end"], out["page"]) == (9, 0, 0, 11, 1)
    assert (out["jump"], out["wheel"]) == (3, 2)
    assert out["toggled"] == [False, True]
    assert out["pressed"] == ["true", "false"]
    assert (out["loose"], out["pulled"], out["dropped"]) == ("50%", "25%", "100%")
    assert out["far"] == "inset(0 0 0 100%)"
    assert out["slider"] == "Input. Slice 5, 6 of 12 from the feet"
