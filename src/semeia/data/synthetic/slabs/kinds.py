"""Kinds of lesions: where they lie, how large they are, what they look like.

The coarse types 1 to 8 are DeepLesion's; which number means what is RECALLED, not checked (uld_protocol.md section 2).
Shares, sizes by kind and HU are invented; only the sizes over all kinds follow DeepLesion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from semeia.data.synthetic.slabs.tissue import Phase, Tissue

BONE, ABDOMEN, MEDIASTINUM, LIVER, LUNG, KIDNEY, SOFT, PELVIS = range(1, 9)
TYPE_NAMES = ("bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft tissue", "pelvis")

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_LONG_AXES = (3.5, 5.0, 11.0, 16.5, 27.0, 56.0, 105.0)
"""Long axis in mm; the five in the middle are MEASURED on DeepLesion (uld_protocol.md section 1), the ends are ours."""

Inside = Literal["solid", "glass", "cavity", "spiculated", "cyst", "target", "rim"]


@dataclass(frozen=True)
class Kind:
    """One kind of lesion.

    Attributes:
        name: of the kind.
        type: 1 to 8.
        share: how often, relative to others that fit.
        hosts: tissues in which the middle lies.
        reach: tissues that it may take the place of, besides its hosts.
        heights: lowest and highest z of the middle in mm.
        sizes: smallest and largest long axis in mm.
        level: HU, or HU relative to the tissue around it, by native, arterial, portal, late: (mean, spread).
        relative: whether ``level`` is relative.
        insides: looks, one is chosen.
        lobed: spread of the surface as a share of the radius.
        edge: width of the edge in mm, least and most.
        contained: share of the outline in the slice that must lie in hosts and reach.
        mimicked: whether vessels through the slab may look like it.
    """

    name: str
    type: int
    share: float
    hosts: tuple[Tissue, ...]
    reach: tuple[Tissue, ...]
    heights: tuple[float, float]
    sizes: tuple[float, float]
    level: tuple[tuple[float, float], ...]
    relative: bool = False
    insides: tuple[Inside, ...] = ("solid",)
    lobed: float = 0.06
    edge: tuple[float, float] = (0.8, 2.0)
    contained: float = 0.8
    mimicked: bool = False

    def hu(self, rng: np.random.Generator, phase: Phase) -> float:
        """Draws the HU of one lesion."""
        row = self.level[("native", "arterial", "portal", "late").index(phase) if len(self.level) > 1 else 0]
        return float(rng.normal(*row))


T = Tissue
_LUNGS = (T.LUNG, T.LUNG_VESSEL, T.BRONCHUS)
_NODE = ((38, 8), (62, 15), (82, 16), (74, 14))
_MASS = ((38, 8), (60, 18), (78, 18), (70, 15))
_WALL = (T.MUSCLE, T.FAT, T.PLANE, T.POCKET, T.CARTILAGE)
_BELLY = (T.MESENTERY, T.PANCREAS, T.GUT_WALL, T.FLUID, T.STOOL, T.GAS, T.SINUS, T.ADRENAL)

KINDS: tuple[Kind, ...] = (
    Kind("lung solid", LUNG, 22, (T.LUNG,), _LUNGS, (300, 575), (3.5, 60), ((28, 18), (45, 22), (52, 22), (48, 20)),
         edge=(0.6, 1.8), contained=0.7, mimicked=True),
    Kind("lung ground glass", LUNG, 5, (T.LUNG,), _LUNGS, (300, 575), (7, 35), ((-560, 90),), insides=("glass",),
         lobed=0.1, edge=(2, 5)),
    Kind("lung spiculated", LUNG, 6, (T.LUNG,), _LUNGS, (300, 575), (10, 50), ((32, 12), (45, 18), (55, 18), (50, 16)),
         insides=("spiculated",), lobed=0.08, contained=0.7),
    Kind("lung cavity", LUNG, 3, (T.LUNG,), _LUNGS, (300, 575), (13, 60), ((30, 15), (45, 18), (55, 18), (50, 15)),
         insides=("cavity",), lobed=0.08, contained=0.7),
    Kind("pleural", LUNG, 4, (T.LUNG,), (T.LUNG, T.LUNG_VESSEL, T.PLEURA, T.MUSCLE), (300, 560), (9, 70),
         ((35, 10), (50, 12), (62, 14), (60, 12)), contained=0.35),
    Kind("mediastinal node", MEDIASTINUM, 15, (T.MEDIASTINUM,), (T.MEDIASTINUM,), (395, 555), (6, 45), _NODE,
         insides=("solid", "solid", "rim"), contained=0.6, mimicked=True),
    Kind("mediastinal mass", MEDIASTINUM, 3, (T.MEDIASTINUM,), (T.MEDIASTINUM, *_LUNGS, T.OESOPHAGUS), (395, 550),
         (30, 105), _MASS, insides=("solid", "target"), lobed=0.1, contained=0.55),
    Kind("axillary node", SOFT, 5, (T.POCKET,), (T.POCKET, T.PLANE, T.MUSCLE, T.FAT), (440, 560), (7, 45), _NODE,
         insides=("solid", "solid", "rim"), contained=0.6, mimicked=True),
    Kind("liver metastasis", LIVER, 13, (T.LIVER,), (T.LIVER, T.LIVER_VESSEL), (215, 410), (5, 100),
         ((-16, 7), (-28, 12), (-42, 15), (-28, 10)), relative=True, insides=("solid", "solid", "target", "rim"),
         lobed=0.08, edge=(1, 4), mimicked=True),
    Kind("liver cyst", LIVER, 4, (T.LIVER,), (T.LIVER, T.LIVER_VESSEL), (215, 410), (4, 70), ((6, 5),),
         insides=("cyst",), lobed=0.03, edge=(0.6, 1.0)),
    Kind("liver bright", LIVER, 3, (T.LIVER,), (T.LIVER, T.LIVER_VESSEL), (215, 410), (6, 55),
         ((-8, 5), (62, 22), (38, 14), (18, 8)), relative=True, insides=("solid", "rim"), mimicked=True),
    Kind("kidney mass", KIDNEY, 4, (T.KIDNEY,), (T.KIDNEY, T.SINUS, T.MESENTERY, T.URINE), (215, 345), (9, 90),
         ((35, 6), (95, 30), (90, 22), (75, 15)), insides=("solid", "target"), contained=0.7),
    Kind("kidney cyst", KIDNEY, 4, (T.KIDNEY,), (T.KIDNEY, T.SINUS, T.MESENTERY, T.URINE), (215, 345), (5, 80),
         ((7, 5),), insides=("cyst",), lobed=0.03, edge=(0.6, 1.0), contained=0.6),
    Kind("adrenal", ABDOMEN, 5, (T.ADRENAL,), (T.ADRENAL, T.MESENTERY), (300, 350), (10, 70),
         ((22, 14), (55, 20), (65, 20), (50, 18)), insides=("solid", "target"), contained=0.5),
    Kind("abdominal node", ABDOMEN, 11, (T.MESENTERY,), (T.MESENTERY,), (180, 345), (6, 45), _NODE,
         insides=("solid", "solid", "rim"), contained=0.65, mimicked=True),
    Kind("pancreas", ABDOMEN, 3, (T.PANCREAS,), (T.PANCREAS, T.MESENTERY), (230, 325), (9, 60),
         ((36, 6), (55, 15), (62, 14), (58, 12)), insides=("solid", "cyst"), contained=0.6),
    Kind("spleen", ABDOMEN, 2, (T.SPLEEN,), (T.SPLEEN,), (290, 395), (6, 50),
         ((-10, 6), (-30, 12), (-40, 14), (-25, 10)), relative=True),
    Kind("abdominal mass", ABDOMEN, 4, (T.MESENTERY,), _BELLY, (150, 340), (28, 105), _MASS,
         insides=("solid", "target"), lobed=0.1, contained=0.75),
    Kind("bone lytic", BONE, 5, (T.MARROW,), (T.MARROW, T.CORTEX), (-30, 600), (7, 60),
         ((45, 15), (60, 18), (70, 18), (65, 15)), lobed=0.1, contained=0.6),
    Kind("bone sclerotic", BONE, 4, (T.MARROW,), (T.MARROW, T.CORTEX), (-30, 600), (6, 45), ((750, 160),), lobed=0.1,
         edge=(1, 4), contained=0.6),
    Kind("soft tissue", SOFT, 7, (T.MUSCLE, T.FAT), _WALL, (-30, 560), (6, 100),
         ((34, 10), (60, 20), (82, 22), (78, 18)), insides=("solid", "solid", "target", "rim"), lobed=0.09),
    Kind("inguinal node", PELVIS, 6, (T.POCKET,), (T.POCKET, T.PLANE, T.MUSCLE, T.FAT), (-30, 80), (7, 45), _NODE,
         insides=("solid", "solid", "rim"), contained=0.6, mimicked=True),
    Kind("pelvic node", PELVIS, 6, (T.MESENTERY,), (T.MESENTERY,), (-10, 175), (6, 45), _NODE, contained=0.65,
         insides=("solid", "solid", "rim"), mimicked=True),
    Kind("pelvic mass", PELVIS, 6, (T.MESENTERY, T.GENITAL), (*_BELLY, T.GENITAL, T.URINE), (-5, 150), (14, 105), _MASS,
         insides=("solid", "target", "cyst"), lobed=0.09, contained=0.7),
)  # fmt: skip

KIND_NAMES = tuple(kind.name for kind in KINDS)


def draw_long_axis(rng: np.random.Generator) -> float:
    """A long axis in mm with DeepLesion's percentiles; straight in the logarithm between them."""
    return float(np.exp(np.interp(rng.random(), _QUANTILES, np.log(_LONG_AXES))))


def fitting(height: float, long: float, *, mimicked: bool = False) -> list[Kind]:
    """Kinds that occur at a height in mm with a long axis in mm."""
    return [
        kind
        for kind in KINDS
        if kind.heights[0] <= height <= kind.heights[1]
        and kind.sizes[0] <= long <= kind.sizes[1]
        and (kind.mimicked or not mimicked)
    ]
