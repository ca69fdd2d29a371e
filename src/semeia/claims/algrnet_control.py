"""Negative control of ALGRNet's relations: where units occur together only by chance, there is nothing to relate.

Two arms of ``claims.algrnet``, trained and tested on a world whose units are drawn independently of one another with
the rates of spontaneous faces. The claim is the reverse of C2's: here relations must not gain more than the margin. A
gain that stays would come from something else than what occurs together, such as depth.
"""

from __future__ import annotations

from dataclasses import replace

from semeia.claims import _unit_networks as shared
from semeia.claims import algrnet

LEDGER = replace(
    algrnet.LEDGER,
    system="algrnet_control",
    title="Negative control of ALGRNet's relations",
    headings={"N1": "Without co-occurrence, relations gain nothing"},
    arms=tuple(arm for arm in algrnet.ARMS if arm.name in ("full", "no relation")),
    claims=(shared.vanishing("N1", "full", "no relation"),),
    about=shared.about_control("ALGRNet"),
)
