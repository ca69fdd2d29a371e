"""The page holds all that it shows, and nothing of it comes from elsewhere."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from semeia.media import lesion_page as module
from semeia.media.lesion_page import MAX_SIDE, SCRIPT, check_page, lesion_page, write_page
from semeia.media.lesion_pictures import WINDOWS
from semeia.media.volumes import open_volume
from semeia.records import Lesion, ScanReading, SemeiaError, SliceBox

BOX = (20.0, 24.0, 30.0, 32.0)
EVIL = "<b>'\"&</script><script>alert(1)</script>"


@pytest.fixture
def scan(tmp_path):
    """12 slices of 64 x 32 voxels of 2 x 3 x 5 mm: soft tissue, and lung from slice 6 on."""
    hu = np.full((64, 32, 12), 40, np.int16)
    hu[:, :, 6:] = -800
    nib.save(nib.Nifti1Image(hu, np.diag([-2.0, -3.0, 5.0, 1.0])), tmp_path / "scan.nii")
    with open_volume(tmp_path / "scan.nii") as scan:
        yield scan


def reading_of(scan, *, name="scan.nii", notes=()):
    slices = {8: (SliceBox(BOX, 0.9),), 9: (SliceBox(BOX, 0.7), SliceBox((1.0, 2.0, 5.0, 6.0), 0.2))}
    slices[3] = (SliceBox((40.0, 10.0, 50.0, 20.0), 0.4),)
    lesions = (
        Lesion(0.9, (8, 9), scan.to_world(8, 9, BOX), 24.0, 20.0),
        Lesion(0.4, (3, 3), scan.to_world(3, 3, (40, 10, 50, 20)), 30.0, 20.0),
    )
    return ScanReading("satr", name, slices, lesions, notes)


class Page(HTMLParser):
    """Sees that tags close, and keeps what matters."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.data = [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, attrs = self.open[-1] if self.open else ("", {})
        self.data.setdefault(attrs.get("id") or tag, []).append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def embedded(self):
        return json.loads("".join(self.data["data"]))


def picture(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_tags_close_and_nothing_comes_from_elsewhere(scan):
    text = lesion_page(reading_of(scan), scan)
    page = Page(text)
    assert page.open == []
    for attrs in (attrs for _, attrs in page.tags):
        assert not {"src", "href", "srcset", "data", "action"} & set(attrs)
    assert [attrs.get("src") for attrs in page.all("script")] == [None, None]
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert "@import" not in text
    assert "url(" not in text


def test_the_page_forbids_itself_to_load_anything(scan):
    (policy,) = [a["content"] for a in Page(lesion_page(reading_of(scan), scan)).all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_texts_from_outside_are_escaped(scan):
    page = Page(lesion_page(reading_of(scan, name=f"folder/{EVIL.replace('/', '')}", notes=(EVIL,)), scan))
    assert page.open == []
    assert len(page.all("script")) == 2
    assert EVIL in "".join(page.data["li"])
    odd = b"\xfc.nii".decode("utf-8", "surrogateescape")
    assert r"\udcfc.nii" in lesion_page(reading_of(scan, name=odd), scan)


def test_the_page_is_ascii_whatever_its_names_are(scan):
    assert lesion_page(reading_of(scan, name="Lungenrundherd größer 肺.nii"), scan).isascii()


def test_slices_are_embedded_in_two_windows_from_the_feet_up(scan):
    data = Page(lesion_page(reading_of(scan), scan)).embedded
    assert [one["z"] for one in data["slices"]] == list(range(12))
    assert set(data["slices"][0]["pictures"]) == set(WINDOWS)
    # 64 x 32 pixels of 2 x 3 mm are 128 x 96 mm: square pixels, and none is added along the longer side.
    tissue, lung = (picture(data["slices"][0]["pictures"][name]) for name in ("soft tissue", "lung"))
    assert tissue.shape == (48, 64)
    assert abs(int(tissue[20, 20]) - 128) <= 2
    assert abs(int(lung[20, 20]) - round(255 * 1390 / 1500)) <= 2


def test_boxes_are_embedded_with_their_scores_and_lesions(scan):
    data = Page(lesion_page(reading_of(scan), scan)).embedded
    assert data["size"] == [64, 32]
    assert data["slices"][9]["boxes"] == [
        {"box": [20, 24, 30, 32], "score": 0.7, "lesion": 1}, {"box": [1, 2, 5, 6], "score": 0.2, "lesion": None},
    ]  # fmt: skip


def test_the_page_opens_at_the_best_lesion_in_its_window(scan):
    data = Page(lesion_page(reading_of(scan), scan)).embedded
    assert (data["start"], data["window"]) == (8, "lung")


def test_the_list_jumps_to_the_slice_where_a_lesion_is_largest(scan):
    page = Page(lesion_page(reading_of(scan), scan))
    jumps = [(a["data-place"], a["data-window-of"]) for a in page.all("button") if "data-place" in a]
    assert jumps == [("8", "lung"), ("3", "soft tissue")]
    assert [a["data-score"] for a in page.all("tr") if "data-score" in a] == ["0.9000", "0.4000"]
    assert {"8 to 9", "24.0 x 20.0"} <= set(page.data["td"])


def test_what_can_be_used_has_a_name(scan):
    page = Page(lesion_page(reading_of(scan), scan))
    assert page.all("html")[0]["lang"] == "en"
    assert all("alt" in attrs for attrs in page.all("img"))
    assert len(page.all("label")) == len(page.all("input")) == 2
    assert any(attrs.get("aria-live") == "polite" for _, attrs in page.tags)
    assert len(page.all("noscript")) == 1


def test_the_limits_are_told(scan):
    text = lesion_page(reading_of(scan, notes=("Half of it was missing.",)), scan)
    for words in ("Not a medical device", "2 candidate lesions", "Half of it was missing.", "satr", "no probabilities"):
        assert words in text


def test_a_scan_without_lesions_has_a_page(scan):
    page = lesion_page(ScanReading("w", "scan.nii", {}, ()), scan)
    assert "No candidate lesion found" in page
    assert Page(page).embedded["start"] == 6


def test_large_pages_leave_slices_out_but_not_those_of_lesions(scan, monkeypatch):
    monkeypatch.setattr(module, "_TEXT_BYTES", 0)
    one = sum(map(len, Page(lesion_page(reading_of(scan), scan)).embedded["slices"][0]["pictures"].values()))
    text = lesion_page(reading_of(scan), scan, max_bytes=8 * one)
    shown = [entry["z"] for entry in Page(text).embedded["slices"]]
    assert len(shown) <= 8
    assert {0, 3, 8, 11} <= set(shown)
    assert f"{len(shown)} of 12 slices are on this page" in text
    jumps = [int(a["data-place"]) for a in Page(text).all("button") if "data-place" in a]
    assert [shown[place] for place in jumps] == [8, 3]


def test_large_slices_are_shrunk(tmp_path):
    nib.save(
        nib.Nifti1Image(np.zeros((600, 500, 2), np.int16), np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "large.nii"
    )
    with open_volume(tmp_path / "large.nii") as scan:
        text = lesion_page(ScanReading("w", "large.nii", {}, ()), scan)
    assert picture(Page(text).embedded["slices"][0]["pictures"]["lung"]).shape == (320, MAX_SIDE)
    assert f"shown with {MAX_SIDE} pixels" in text


def test_noise_stays_below_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TEXT_BYTES", 50_000)
    hu = np.random.default_rng(0).normal(0, 300, (96, 96, 40)).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "noise.nii")
    with open_volume(tmp_path / "noise.nii") as scan:
        assert len(lesion_page(ScanReading("w", "noise.nii", {}, ()), scan, max_bytes=300_000)) <= 300_000


def test_another_suffix_is_refused_before_and_after(scan, tmp_path):
    for refuse in (check_page, lambda path: write_page(reading_of(scan), scan, path)):
        with pytest.raises(SemeiaError, match=r"ends in \.html"):
            refuse(tmp_path / "page.pdf")
    write_page(reading_of(scan), scan, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes().startswith(b"<!doctype html>")


DOM = """
const elements = {}, listeners = {};
class Element {
  constructor(name) {
    Object.assign(this, {name, children: [], style: {}, dataset: {}, classes: new Set(), attributes: {}, on: {}});
    this.classList = {toggle: (word, on) => on ? this.classes.add(word) : this.classes.delete(word)};
  }
  append(child) { this.children.push(child); }
  replaceChildren() { this.children = []; }
  setAttribute(key, value) { this.attributes[key] = value; }
  addEventListener(kind, call) { this.on[kind] = call; }
}
const rows = [0.9, 0.4].map(score => Object.assign(new Element("tr"), {dataset: {score: String(score)}}));
const windows = ["lung", "soft tissue"].map(name => Object.assign(new Element("button"), {dataset: {window: name}}));
const jumps = [[8, "lung"], [3, "soft tissue"]].map(([place, of]) =>
  Object.assign(new Element("button"), {dataset: {place: String(place), windowOf: of}}));
const document = {
  getElementById: id => elements[id] ??= new Element(id),
  createElement: name => new Element(name),
  createElementNS: (_, name) => new Element(name),
  querySelectorAll: which => ({"[data-window]": windows, "[data-place]": jumps, "[data-score]": rows})[which],
  addEventListener: (kind, call) => listeners[kind] = call,
};
const key = name => listeners.keydown({key: name, preventDefault() {}});
const wheel = by => elements.view.on.wheel({deltaMode: 0, deltaY: by, preventDefault() {}});
const now = () => [
  Number(elements.slice.value), elements.shapes.children.length, elements.tags.children.map(t => t.textContent)];
document.getElementById("least").value = "0";
"""

STEPS = """
const out = {start: now(), alt: elements.picture.alt, pressed: windows.map(w => w.attributes["aria-pressed"])};
key("ArrowRight"); out.next = now();
elements.least.value = "0.5"; elements.least.on.input(); out.hidden = now();
out.faint = rows.map(r => r.classes.has("faint"));
key("Home"); out.home = now()[0]; key("ArrowLeft"); out.before = now()[0];
key("End"); out.end = now()[0]; key("PageDown"); out.page = now()[0];
jumps[1].on.click(); out.jump = now()[0]; out.window = windows.map(w => w.attributes["aria-pressed"]);
wheel(60); out.down = now()[0]; wheel(-30); wheel(-30); out.up = now()[0];
key("w"); out.other = windows.map(w => w.attributes["aria-pressed"]);
elements.slice.value = "5"; elements.slice.on.input(); out.slider = now()[0];
out.source = elements.picture.src.slice(0, 23);
console.log(JSON.stringify(out));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_script_scrolls_jumps_and_hides(scan, tmp_path):
    data = Page(lesion_page(reading_of(scan), scan)).embedded
    given = f'document.getElementById("data").textContent = {json.dumps(json.dumps(data))};'
    (tmp_path / "page.cjs").write_text(DOM + given + SCRIPT.replace('"use strict";', "") + STEPS)
    done = subprocess.run(["node", tmp_path / "page.cjs"], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert out["start"] == [8, 1, ["1  0.90"]]
    assert out["alt"] == "Axial CT. Slice 8, 9 of 12 from the feet, 1 candidate box, lung window"
    assert out["pressed"] == ["true", "false"]
    assert out["next"] == [9, 2, ["1  0.70", "0.20"]]
    assert out["hidden"] == [9, 1, ["1  0.70"]]
    assert out["faint"] == [False, True]
    assert (out["home"], out["before"], out["end"], out["page"]) == (0, 0, 11, 1)
    assert (out["jump"], out["window"]) == (3, ["false", "true"])
    assert (out["down"], out["up"]) == (2, 3)
    assert out["other"] == ["true", "false"]
    assert out["slider"] == 5
    assert out["source"] == "data:image/jpeg;base64,"
