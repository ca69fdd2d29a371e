"""Negative control of MGRR-Net's graph: where units occur together only by chance, there is nothing to relate.

Two arms of ``claims.mgrrnet``, trained and tested on a world whose units are drawn independently of one another with
the rates of spontaneous faces. The claim is the reverse of C1's: here the graph must not gain more than the margin. A
gain that stays would come from something else than what occurs together, such as depth.
"""

from __future__ import annotations

from dataclasses import replace

from semeia.claims import _unit_networks as shared
from semeia.claims import mgrrnet

LEDGER = replace(
    mgrrnet.LEDGER,
    system="mgrrnet_control",
    title="Negative control of MGRR-Net's graph",
    headings={"N1": "Without co-occurrence, a graph gains nothing"},
    arms=tuple(arm for arm in mgrrnet.ARMS if arm.name in ("graph alone", "none")),
    claims=(shared.vanishing("N1", "graph alone", "none"),),
    about=shared.about_control("MGRR-Net"),
)
