"""Who lies in the scanner, and how the scan is taken: everything that is drawn before anything is painted.

One stream of random numbers a purpose, named by a word, so that new purposes do not shift old ones.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from semeia.data.synthetic.slabs.tissue import PHASES, Phase

Region = Literal["thorax", "abdomen", "pelvis"]
REGIONS: tuple[Region, ...] = ("thorax", "abdomen", "pelvis")
_HEIGHTS: dict[Region, tuple[float, float]] = {"thorax": (395, 540), "abdomen": (205, 385), "pelvis": (5, 185)}
_REGION_ODDS = (0.45, 0.4, 0.15)
_PHASE_ODDS = {"thorax": (0.4, 0.15, 0.4, 0.05), "abdomen": (0.15, 0.15, 0.6, 0.1), "pelvis": (0.2, 0.05, 0.6, 0.15)}

THICKNESS = {1.0: (17, 1), 2.5: (13, 2), 5.0: (9, 4)}
"""Slices of a slab and planes a slice, by slice thickness in mm; planes lie 1 to 1.25 mm apart."""
_THICKNESS_ODDS = (0.45, 0.1, 0.45)


def stream(seed: int, patient: int, purpose: str) -> np.random.Generator:
    """Random numbers of a patient for one purpose."""
    return np.random.default_rng([seed, patient, zlib.crc32(purpose.encode())])


@dataclass(frozen=True)
class Person:
    """The body; the same in all slabs of a patient.

    Attributes:
        seed: of the world.
        number: of the patient.
        sex: "F" or "M".
        age: years.
        build: factors across, in depth of a reference adult.
        fat: millimetres of fat under the skin at the flank.
        marbling: share of fat in muscle, 0 to 1.
        marrow: HU of marrow; falls with age.
        warp: (2, 4, 5) waves that bend the body: amplitude in mm, three wave numbers in 1/mm, phase.
    """

    seed: int
    number: int
    sex: Literal["F", "M"]
    age: float
    build: tuple[float, float]
    fat: float
    marbling: float
    marrow: float
    warp: np.ndarray

    def stream(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose, the same in all slabs of the person."""
        return stream(self.seed, self.number, purpose)


def draw_person(seed: int, number: int) -> Person:
    """The patient of a number."""
    rng = stream(seed, number, "person")
    sex: Literal["F", "M"] = "F" if rng.random() < 0.48 else "M"
    age = float(np.clip(rng.normal(57, 15), 18, 90).round())
    size = (0.94 if sex == "F" else 1.02) * rng.normal(1, 0.03)
    fat = float(np.clip(rng.lognormal(np.log(16 if sex == "F" else 13), 0.5), 4, 42))
    build = (size * rng.normal(1, 0.03), size * rng.normal(1, 0.04) * (1 + 0.004 * (fat - 14)))
    amplitude = rng.normal(0, 1.6, (2, 4, 1))
    number_of_waves = rng.normal(0, 2 * np.pi / 170, (2, 4, 3)) * (1, 1, 0.5)
    warp = np.concatenate([amplitude, number_of_waves, rng.uniform(0, 2 * np.pi, (2, 4, 1))], -1)
    marbling = float(np.clip(rng.normal(0.1 + 0.005 * (age - 50), 0.12), 0, 0.8))
    marrow = float(np.clip(rng.normal(210 - 1.6 * (age - 50), 35), 70, 300))
    return Person(seed, number, sex, age, build, fat, marbling, marrow, warp)


@dataclass(frozen=True)
class Scan:
    """How one slab is taken.

    Attributes:
        region: thorax, abdomen or pelvis.
        height: z of the slab's middle in mm of the reference body.
        phase: of the contrast agent.
        thickness: of a slice in mm; slices touch.
        slices: of the slab.
        planes: a slice, over which it is averaged.
        size: pixels a side.
        spacing: mm a pixel.
        turn: of the body in the plane, radians.
        shift: of the body in the plane, mm.
        lean: mm across and in depth a mm along z.
        arms: whether they lie beside the body.
        sharp: whether the kernel is sharp.
        noise: standard deviation in HU at the middle of a round body, for the soft kernel.
        circle: whether what lies outside the reconstructed circle is blank.
    """

    region: Region
    height: float
    phase: Phase
    thickness: float
    slices: int
    planes: int
    size: int
    spacing: float
    turn: float
    shift: tuple[float, float]
    lean: tuple[float, float]
    arms: bool
    sharp: bool
    noise: float
    circle: bool

    @property
    def heights(self) -> np.ndarray:
        """(slices * planes,) z of all planes in mm; the lowest slice lies nearest to the feet."""
        planes = self.slices * self.planes
        return self.height + (np.arange(planes) + 0.5 - planes / 2) * self.thickness / self.planes


def draw_scan(person: Person, study: int, *, size: int = 256, region: Region | None = None) -> Scan:
    """The slab of a study number: 1, 2 and so on."""
    rng = person.stream(f"scan {study}")
    drawn = REGIONS[rng.choice(3, p=_REGION_ODDS)]
    region = region or drawn
    height = float(rng.uniform(*_HEIGHTS[region]))
    phase = PHASES[rng.choice(4, p=_PHASE_ODDS[region])]
    thickness = (1.0, 2.5, 5.0)[rng.choice(3, p=_THICKNESS_ODDS)]
    slices, planes = THICKNESS[thickness]
    arms = bool(rng.random() < 0.12)
    # A field of view as wide as the body, within 1.3 to 1.6 mm at 256 pixels.
    width = 2 * (160 * person.build[0] + 0.9 * person.fat) + rng.uniform(18, 50) + 60 * arms
    spacing = float(np.clip(width / 256, 1.3, 1.6)) * 256 / size
    sharp = bool(rng.random() < (0.3 if region == "thorax" else 0.08))
    # Fewer photons a slice and more tissue in the way.
    noise = rng.uniform(7, 15) * (5 / thickness) ** 0.3 * (1 + 0.012 * (person.fat - 14))
    return Scan(
        region=region,
        height=height,
        phase=phase,
        thickness=thickness,
        slices=slices,
        planes=planes,
        size=size,
        spacing=round(spacing, 6),
        turn=float(np.radians(rng.normal(0, 1.6))),
        shift=(float(rng.normal(0, 4)), float(rng.normal(0, 6))),
        lean=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.03))),
        arms=arms,
        sharp=sharp,
        noise=float(noise),
        circle=bool(rng.random() < 0.4),
    )
