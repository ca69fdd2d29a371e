"""SATr's claims: slice attention beside the convolution over slices, and where it should look.

Directions follow from the abstract and from switches of the authors' code; the ablations of the paper could not be
read. Margins and metrics were written down before anything was run.

    SATr                 slice attention beside the convolution
    plain                the convolution alone
    convolution          two convolutions as large as the attention, in its place
    alone                slice attention without the convolution
    neighbours, all, key slices that say where to look, where nothing else of the neighbours is read: no embedding of
                         all slices, no class token
    other trunk          SATr and plain on a trunk of another kind
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from semeia.claims import _lesions as shared
from semeia.claims._lesions import ALL, FOUND, sensitivity_of
from semeia.claims._unit_networks import as_large
from semeia.claims.qface import changed
from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Setting, Size, Term

if TYPE_CHECKING:
    from semeia.recipes.satr import Config
    from semeia.systems import satr

STEPS, BATCH = 500, 16
"""Of the scale ``small``."""

OTHER = "mobilenetv3_small_050"
"""The other trunk: depthwise convolutions, squeeze and excitation, batch norm; of about the same cost."""


@lru_cache(maxsize=256)
def parameters(model: satr.Config) -> int:
    """Of a model."""
    from semeia.systems import satr

    return satr.parameters(model)


def widened(config: Config, *, like: Config, **changes: Any) -> Config:
    """Changes of the model, and that width inside the perceptron which makes it as large as another."""
    made: Config = as_large(changed(config, **changes), like=like, field="hidden", count=parameters)
    return made


def pure(config: Config) -> Config:
    """The neighbours say where to look, and are not read otherwise."""
    return changed(config, embedding="none", class_token="none")


def looking(attend: str) -> Callable[[Config], Config]:
    """Other slices say where to look."""
    return lambda config: widened(pure(config), like=pure(config), attend=attend)


PURE = ("model.embedding", "model.class_token")
ARMS = (
    Arm("SATr", "slice attention beside the convolution over slices"),
    Arm("plain", "the convolution over slices alone", lambda config: changed(config, block="none"), ("model.block",)),
    Arm("convolution", "two convolutions as large in place of the attention",
        lambda config: changed(config, block="convolution"), ("model.block",)),
    Arm("alone", "slice attention without the convolution over slices",
        lambda config: widened(config, like=config, hybrid=False), ("model.hybrid", "model.hidden")),
    Arm("neighbours", "neighbours say where to look, nothing else is read of them", pure, PURE),
    Arm("all", "all slices say where to look, nothing else is read of neighbours", looking("all"),
        (*PURE, "model.attend", "model.hidden")),
    Arm("key", "the key slice says where to look, nothing is read of neighbours", looking("key"),
        (*PURE, "model.attend", "model.hidden")),
    Arm("SATr, other trunk", f"slice attention on {OTHER}", lambda config: changed(config, trunk=OTHER),
        ("model.trunk",)),
    Arm("plain, other trunk", f"the convolution over slices alone on {OTHER}",
        lambda config: changed(config, trunk=OTHER, block="none"), ("model.trunk", "model.block")),
)  # fmt: skip

RATES = {"half": 0.5, "one": 1.0, "two": 2.0, "four": 4.0}
LOW, HIGH = sensitivity_of(ALL, 0.5), sensitivity_of(ALL, 4.0)
GAIN = "KNOWN: 79.24 to 81.02 % at 0.5 false boxes on DeepLesion, by a table of the web; others RECALLED"
BY_CODE = "INFERRED: switches of the authors' code; values could not be read"
BLOCK = "the block adds parameters; S5 compares it with as many of another kind"
CLAIMS = (
    *(Claim(f"S1.{word}", f"SATr finds more at {rate:g} false boxes an image", GAIN, ("SATr", "plain"),
            sensitivity_of(ALL, rate), matched=False, reason=BLOCK) for word, rate in RATES.items()),
    Claim("S1.low", "It gains more at 0.5 false boxes than at 4", "INFERRED: +1.8 at 0.5 and"
          " +0.6 at 4, RECALLED cells of a table", ("SATr", "plain"), LOW,
          terms=(Term("SATr", 1.0, LOW), Term("plain", -1.0, LOW), Term("SATr", -1.0, HIGH), Term("plain", 1.0, HIGH)),
          contrast="SATr - plain, at 0.5 more than at 4", matched=False, reason=BLOCK),
    Claim("S2.all", "Neighbours alone say where to look not worse than all slices", BY_CODE, ("neighbours", "all"),
          FOUND, margin=0.01),
    Claim("S2.key", "All slices say it not worse than the key slice alone", BY_CODE, ("all", "key"), FOUND,
          margin=0.01),
    Claim("S2.both", "Neighbours alone say it better than the key slice alone", BY_CODE, ("neighbours", "key"), FOUND),
    Claim("S3", "The hybrid finds more than the transformer alone",
          "INFERRED: the abstract plugs the block into convolutional networks", ("SATr", "alone"), FOUND),
    Claim("S4.narrow", "SATr finds more on the narrow trunk", "KNOWN: the abstract, five methods improve",
          ("SATr", "plain"), FOUND, matched=False, reason=BLOCK),
    Claim("S4.other", f"SATr finds more on {OTHER}", "KNOWN: the abstract, five methods improve",
          ("SATr, other trunk", "plain, other trunk"), FOUND, matched=False, reason=BLOCK),
    Claim("S5", "It finds more than convolutions as large", "UNKNOWN: our own question", ("SATr", "convolution"),
          FOUND),
)  # fmt: skip

HEADINGS = {
    "S1": "Slice attention finds more at every rate of false boxes, most at the lowest",
    "S2": "Neighbours should say where to look",
    "S3": "Attention and convolution together are better than attention alone",
    "S4": "The gain is there on more than one trunk",
    "S5": "The gain is not one of parameters",
}


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale."""
    from semeia.recipes import satr as recipe

    config: Config = shared.setting_of(recipe, setting, steps=STEPS, batch=BATCH)
    return config


def size(config: Config) -> Size:
    """Of the model of a configuration."""
    from semeia.systems import satr

    return shared.size_of(satr.build, config.model)


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train an arm and read the test."""
    from semeia.recipes import satr as recipe

    return shared.sums_of(shared.found_by(config, recipe))


LEDGER = Ledger(
    system="satr",
    title="SATr (arXiv 2203.07373)",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    shown=shared.SHOWN,
    about=shared.about(
        "The block has the light embedding of patches. Arms of S2 have neither that embedding nor a class token, so "
        "that neighbours do nothing but say where to look; beside the block all arms gather slices by the same "
        "convolution, but for `alone`.",
        steps=STEPS, batch=BATCH,
    ),
)  # fmt: skip
