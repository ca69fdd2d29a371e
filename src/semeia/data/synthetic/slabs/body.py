"""The whole body, painted from the outside to the inside."""

from __future__ import annotations

from semeia.data.synthetic.slabs.belly import bowel_vessels, paint_belly
from semeia.data.synthetic.slabs.bones import paint_bones
from semeia.data.synthetic.slabs.bowel import paint_bowel
from semeia.data.synthetic.slabs.canvas import Canvas
from semeia.data.synthetic.slabs.chest import paint_chest
from semeia.data.synthetic.slabs.pelvis import paint_pelvis
from semeia.data.synthetic.slabs.person import Person, Scan
from semeia.data.synthetic.slabs.walls import paint_walls


def paint_body(person: Person, scan: Scan) -> Canvas:
    """A healthy person's planes."""
    canvas = Canvas(person, scan)
    paint_walls(canvas)
    paint_chest(canvas)
    paint_bones(canvas)
    paint_belly(canvas)
    paint_pelvis(canvas)
    paint_bowel(canvas)
    bowel_vessels(canvas)
    return canvas
