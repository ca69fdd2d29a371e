"""ULD: universal lesion detection in CT, the plain two-stage detector that other systems add to.

    Paper   The base detector of AlignShift, A3D and SATr (Li et al., MICCAI 2022, arXiv 2203.07373), of which the
            authors' code was read; data and protocol: DeepLesion
    Idea    A lesion is judged on one slice, but a vessel that runs through looks like one there: neighbouring slices
            tell them apart. A network sees each slice, what it saw of all slices is gathered for the key slice, and a
            detector of two stages finds boxes there.
    Flow    S slices, each alone -> trunk -> maps at strides 4, 8, 16 -> collector: maps of the key slice
            -> pyramid: one map at stride 4 -> proposals -> regions -> boxes and scores
    Known   The numbers of the detector, from the authors' code. A3D's mixing of slices inside the trunk is left out:
            here slices meet in the collector alone (docs/systems/uld.md).

Shapes      B images   S slices   H, W image   M_i lesions of image i
"""

from __future__ import annotations

from dataclasses import dataclass

from semeia.detection.design import TINIEST, TWO_CORES, Design, build_detector
from semeia.detection.lesion_task import LesionTask


@dataclass(frozen=True)
class Config(Design):
    """What the detector is: nothing is added to ``detection.design.Design``, where every field names its source."""


SMALL = Config(**TWO_CORES)
"""For two cores. [default: own]"""

TINY = Config(**TINIEST)
"""For trying that everything runs. [default: own]"""


class ULD(LesionTask):
    """The plain detector as a task; nothing is added to ``LesionTask``."""

    config: Config


def build(config: Config) -> ULD:
    """Build the detector with random weights.

    Raises:
        SemeiaError: A value that will not do.
    """
    return ULD(config, detector=build_detector(config))
