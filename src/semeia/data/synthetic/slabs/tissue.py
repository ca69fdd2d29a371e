"""Tissues of the CT world: numbers, HU by contrast phase, and grain.

HU are round numbers of the kind that textbooks give; none is fitted to a data set.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import numpy as np

Phase = Literal["native", "arterial", "portal", "late"]
PHASES: tuple[Phase, ...] = ("native", "arterial", "portal", "late")


class Tissue(IntEnum):
    """What a pixel mostly is."""

    AIR = 0
    TABLE = 1
    SKIN = 2
    FAT = 3
    MUSCLE = 4
    PLANE = 5
    POCKET = 6
    MEDIASTINUM = 7
    MESENTERY = 8
    LUNG = 9
    LUNG_VESSEL = 10
    BRONCHUS = 11
    AIRWAY = 12
    HEART = 13
    BLOOD = 14
    OESOPHAGUS = 15
    THYROID = 16
    LIVER = 17
    LIVER_VESSEL = 18
    SPLEEN = 19
    GUT_WALL = 20
    FLUID = 21
    GAS = 22
    STOOL = 23
    KIDNEY = 24
    SINUS = 25
    PANCREAS = 26
    ADRENAL = 27
    BILE = 28
    URINE = 29
    GENITAL = 30
    CORTEX = 31
    MARROW = 32
    DISC = 33
    CANAL = 34
    CARTILAGE = 35
    GLAND = 36
    PLEURA = 37


HU: dict[str, tuple[float, float, float, float]] = {
    "aorta": (42, 290, 155, 105),
    "vein": (42, 85, 150, 105),
    "portal": (42, 95, 165, 110),
    "pulmonary": (42, 190, 150, 105),
    "heart": (45, 110, 115, 90),
    "muscle": (54, 58, 64, 64),
    "liver": (57, 68, 110, 92),
    "spleen": (48, 115, 122, 98),
    "cortex": (34, 165, 185, 150),
    "medulla": (32, 60, 165, 150),
    "pelvis": (6, 6, 8, 420),
    "pancreas": (42, 105, 95, 80),
    "adrenal": (30, 75, 75, 60),
    "gut": (42, 75, 85, 72),
    "thyroid": (105, 170, 160, 140),
    "genital": (45, 70, 90, 85),
    "node": (38, 65, 90, 80),
    "urine": (4, 4, 5, 160),
}
"""Means by phase: native, arterial, portal, late."""

GRAIN = np.zeros((256, 2), np.float32)
"""Spread of the fine and the coarse texture in HU, by tissue."""
for _tissue, _spread in {
    Tissue.TABLE: (10, 0),
    Tissue.FAT: (4, 5),
    Tissue.MUSCLE: (6, 5),
    Tissue.PLANE: (5, 6),
    Tissue.POCKET: (5, 7),
    Tissue.MEDIASTINUM: (6, 10),
    Tissue.MESENTERY: (6, 9),
    Tissue.LUNG: (20, 22),
    Tissue.LUNG_VESSEL: (6, 4),
    Tissue.HEART: (4, 5),
    Tissue.BLOOD: (2, 2),
    Tissue.OESOPHAGUS: (8, 8),
    Tissue.THYROID: (8, 8),
    Tissue.LIVER: (4, 4),
    Tissue.SPLEEN: (4, 4),
    Tissue.GUT_WALL: (9, 9),
    Tissue.FLUID: (6, 9),
    Tissue.STOOL: (120, 90),
    Tissue.KIDNEY: (6, 6),
    Tissue.SINUS: (10, 16),
    Tissue.PANCREAS: (16, 9),
    Tissue.GENITAL: (8, 10),
    Tissue.CORTEX: (60, 40),
    Tissue.MARROW: (45, 25),
    Tissue.DISC: (8, 8),
    Tissue.CARTILAGE: (20, 25),
    Tissue.GLAND: (25, 30),
}.items():
    GRAIN[_tissue] = _spread

FATTY = (Tissue.FAT, Tissue.PLANE, Tissue.POCKET, Tissue.MEDIASTINUM, Tissue.MESENTERY, Tissue.SINUS)
"""Fat of all places."""


def hosts(*tissues: Tissue) -> np.ndarray:
    """(256,) bool: true for the tissues given, or for all where none is."""
    table = np.full(256, not tissues)
    table[list(tissues)] = True
    return table
