"""Face-MLLM's claims: three stages, what each is good for, and what captions and labels add.

The paper's tables could not be read (docs/systems/face_mllm.md); directions follow from its abstract and from the
spec's list of what to test. Margins and metrics were written down before anything was run. The language model is made
from scratch (``tiny``) and learns its language from captions without pictures first, in all arms alike. A stage that
begins alike in several arms of a seed is trained once.

    full            align, basic, special
    direct          special alone, with the steps of all three
    direct, short   special alone, with its own steps
    no align        basic, special; the steps of align go to both
    no basic        align, special; likewise
    no special      align, basic; likewise
    before          hardly anything is trained on pictures
    alt text        stage 1 on weak, partly wrong captions
    captions        stage 2 on captions alone
    labels          stage 2 on labels alone
    unseen          captions that tell held-out items are dropped (condition U), which few are not
    as many         as many captions, with as many words each, that may tell them
    a tenth         a tenth of the training pictures
    a hundredth     a hundredth of them
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Metric, Setting, Size, Sums
from semeia.ledger.matching import counted, digest
from semeia.ledger.running import commit

if TYPE_CHECKING:
    from semeia.question_sets import QuestionData
    from semeia.recipes.face_mllm import Config, Opened
    from semeia.systems.face_mllm import questions

TASKS = ("expression", "unit", "age", "gender", "head")
"""The five tasks; an age is right when it is at most ten years off."""

SKILL = "part of a perfect score"


def _five(sums: Sums) -> np.ndarray:
    from semeia.answer_scores import task_accuracy  # heavy, and not needed to list claims

    return task_accuracy(sums)


def _held_out(sums: Sums) -> np.ndarray:
    from semeia.answer_scores import held_out_accuracy

    return held_out_accuracy(sums)


FIVE = Metric("five tasks, mean accuracy", ("tasks",), _five, SKILL)
HELD_OUT = Metric("held-out items, mean balanced accuracy", ("held_out",), _held_out, SKILL)

STEPS = 260
"""Of the three stages together at the scale ``small``; the language takes as many before them."""

CHATS = 16
"""Of a step at the scale ``small``."""

BLOCKS = 2
"""Of the language model at the scale ``small``."""

ASKED = 160
"""Test questions of each task at the scale ``small``."""


def shares(align: float, basic: float, special: float) -> Callable[[Config], Config]:
    """Other shares of the steps for the three stages."""

    def make(config: Config) -> Config:
        return replace(
            config, align=replace(config.align, share=align), basic=replace(config.basic, share=basic),
            special=replace(config.special, share=special),
        )  # fmt: skip

    return make


def with_(**changes: Any) -> Callable[[Config], Config]:
    """Other values of fields of the recipe."""
    return lambda config: replace(config, **changes)


SHARES = ("align.share", "basic.share", "special.share")
ARMS = (
    Arm("full", "three stages"),
    Arm("direct", "stage 3 alone, with the steps of all three", shares(0.0, 0.0, 1.0), SHARES),
    Arm("direct, short", "stage 3 alone, with its own steps", shares(0.0, 0.0, 0.35), SHARES),
    Arm("no align", "stages 2 and 3", shares(0.0, 0.5, 0.5), SHARES),
    Arm("no basic", "stages 1 and 3", shares(0.5, 0.0, 0.5), SHARES),
    Arm("no special", "stages 1 and 2", shares(0.5, 0.5, 0.0), SHARES),
    Arm("before", "hardly trained on pictures", shares(0.02, 0.0, 0.0), SHARES),
    Arm("alt text", "weak, partly wrong captions in stage 1", with_(captions="alt text"), ("captions",)),
    Arm("captions", "stage 2 on captions alone", with_(annotations="captions"), ("annotations",)),
    Arm("labels", "stage 2 on labels alone", with_(annotations="labels"), ("annotations",)),
    Arm("unseen", "captions that tell held-out items are dropped", with_(condition="U"), ("condition",)),
    Arm(
        "as many",
        "as many captions as there are then, of the same lengths, that may tell them",
        with_(condition="matched"),
        ("condition",),
    ),
    Arm("a tenth", "a tenth of the training pictures", with_(part=0.1), ("part",)),
    Arm("a hundredth", "a hundredth of the training pictures", with_(part=0.01), ("part",)),
)

STAGES = "INFERRED: the abstract says that three stages train the model; no comparison could be read"
DATA = "INFERRED: the abstract says that re-annotated data are the reason of success; no comparison could be read"
ZERO = "INFERRED: the abstract names zero-shot attributes as a task of its own; its protocol could not be read"
CLAIMS = (
    Claim("M1.steps", "Three stages beat direct instruction tuning with as many steps", STAGES, ("full", "direct"),
          FIVE),
    Claim("M1.stage", "Three stages beat direct instruction tuning with as many steps of stage 3", STAGES,
          ("full", "direct, short"), FIVE),
    Claim("M1.held out", "Three stages beat direct instruction tuning on items that were never asked", STAGES,
          ("full", "direct"), HELD_OUT),
    Claim("M2.align", "Leaving out stage 1 hurts", STAGES, ("full", "no align"), FIVE),
    Claim("M2.basic", "Leaving out stage 2 hurts on items that were never asked", STAGES, ("full", "no basic"),
          HELD_OUT),
    Claim("M3", "Detailed captions beat alt text in stage 1", DATA, ("full", "alt text"), FIVE),
    Claim("M3.held out", "Detailed captions beat alt text on items that were never asked", DATA, ("full", "alt text"),
          HELD_OUT),
    Claim("M4.tasks", "Questions made of face sets lift the five tasks", DATA, ("full", "before"), FIVE),
    Claim("M4.kept", "Stage 3 does not destroy what was learned of items that are never asked", ZERO,
          ("full", "no special"), HELD_OUT, margin=0.03),
    Claim("M5.captions", "Captions and labels beat captions alone on items that were never asked", DATA,
          ("full", "captions"), HELD_OUT),
    Claim("M5.labels", "Captions and labels beat labels alone on items that were never asked", DATA,
          ("full", "labels"), HELD_OUT),
    Claim("M5.told", "Captions that tell held-out items help with them, as many captions and words being read", ZERO,
          ("as many", "unseen"), HELD_OUT),
    Claim("M5.tenth", "All re-annotated data beat a tenth", DATA, ("full", "a tenth"), FIVE),
    Claim("M5.hundredth", "All re-annotated data beat a hundredth", DATA, ("full", "a hundredth"), FIVE),
)  # fmt: skip

HEADINGS = {
    "M1": "Three stages are better than direct instruction tuning",
    "M2": "Each of the first two stages is needed",
    "M3": "Re-annotated captions are better than alt text",
    "M4": "Questions made of face sets lift the tasks and keep what was known",
    "M5": "Captions and labels together, and more of them, are better",
}


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale."""
    from semeia.question_sets import QuestionData
    from semeia.recipes import face_mllm as recipe

    if setting.scale == "smoke":
        config = replace(recipe.smoke(), fit=replace(recipe.smoke().fit, steps=50), validate=4, batch_size=2)
    elif setting.scale == "small":
        small = recipe.tiny()
        config = replace(
            small, model=replace(small.model, tiny_depth=BLOCKS), language_steps=STEPS, batch_size=CHATS, validate=16,
            test=ASKED, fit=replace(small.fit, steps=STEPS),
        )  # fmt: skip
    else:
        config = replace(recipe.paper(), test=None)
    how = replace(config.fit, seed=setting.seed, out=str(setting.out), eval_every=config.fit.steps,
                  save_every=min(200, config.fit.steps))  # fmt: skip
    return replace(config, data=QuestionData(faces=setting.data), rounds=0, fit=how)


def size(config: Config) -> Size:
    """Of the model of a configuration; a language model that is made here counts a full vocabulary."""
    import torch

    from semeia.language.models import MOST_WORDS, TINY, open_lm, tiny_lm, word_tokenizer
    from semeia.systems.face_mllm.model import build

    how = config.model
    if how.lm == TINY:
        tokenizer = word_tokenizer(f"word{number}" for number in range(MOST_WORDS // 10))
        lm = tiny_lm(
            tokenizer, width=how.tiny_width, depth=how.tiny_depth, heads=how.tiny_heads, longest=how.longest
        )  # fmt: skip
    else:
        lm, tokenizer = open_lm(how.lm, dtype=how.lm_dtype)
    model = build(how, lm=lm, tokenizer=tokenizer)
    return counted(model, lambda m: m.sight(torch.zeros(1, 3, how.image_size, how.image_size)))


# ---------------------------------------------------------------------------------------------------------------------
# What arms share


@lru_cache(maxsize=1)
def opened(data: QuestionData, ask: questions.Config, noise: float) -> Opened:
    """The questions of all arms; they are not changed."""
    from semeia.question_sets import open_questions

    return open_questions(data, ask=ask, noise=noise)


def beginnings(config: Config) -> dict[str, str]:
    """Stages that other arms may have trained alike, and letters for all that decides what comes out of each."""
    from semeia.recipes.face_mllm import Part, planned

    none = Part(0.0, 0.0)
    special = replace(config, special=none, replay=0.0)
    basic = replace(special, basic=none, annotations="both")
    align = replace(basic, align=none, captions="detailed")
    until = {"language": align, "align": basic, "basic": special}
    return {s: f"{s}-{config.fit.seed}-{digest(until[s])}-{_code()}" for s, _ in planned(config) if s in until}


@lru_cache(maxsize=1)
def _code() -> str:
    """The commit as this process began: what another one trained is not taken over."""
    return commit()


def take_over(config: Config) -> None:
    """Put stages that another arm has finished where the training of this one finds and skips them."""
    for stage, name in beginnings(config).items():
        _copy(_shelf(config) / name, Path(config.fit.out) / stage)


def hand_on(config: Config) -> None:
    """Keep finished stages for other arms."""
    for stage, name in beginnings(config).items():
        _copy(Path(config.fit.out) / stage, _shelf(config) / name)


def _shelf(config: Config) -> Path:
    return Path(config.fit.out).parent / "stages"


def _copy(folder: Path, place: Path) -> None:
    """Whole or not at all; nothing where there is no folder, or one already."""
    if folder.is_dir() and not place.exists():
        part = place.with_name(f".{place.name}")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(folder, part)
        part.replace(place)


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train an arm and add up what is right by likelihood on the test, of tasks and of held-out items."""
    from semeia.answer_scores import answer_questions, answer_sums
    from semeia.question_sets import HELD_OUT as ABOUT_HELD_OUT
    from semeia.question_sets import Pictures
    from semeia.recipes import face_mllm as recipe
    from semeia.recipes._face_mllm_stages import limited

    found, folders = opened(config.data, config.ask, config.noise)  # only training faces are misread
    take_over(config)
    weights = recipe.train(replace(config, test=1), opened=(found, folders), progress=False)
    hand_on(config)
    model, _ = recipe.load(weights)
    asked = [
        question for question in recipe.put_to_the_test(config, found, folders)
        if question.task in TASKS or question.task == ABOUT_HELD_OUT
    ]  # fmt: skip
    pictures = Pictures(folders, size=config.model.image_size, margin=config.model.margin)
    answered = answer_questions(model, limited(asked, config.test), pictures, greedy=False)
    names, sums = answer_sums(answered, tasks=TASKS, abouts=config.ask.held_out)
    return Measured(names, sums)


LEDGER = Ledger(
    system="face_mllm",
    title="Face-MLLM (arXiv 2410.20717)",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    free=("align", "basic", "special", "captions", "annotations", "condition", "part"),
    shown=(FIVE, HELD_OUT),
    about=f"""Trained and tested on the face world (`semeia make faces worlds/faces --count 26600 --seed 1`). Its labels
become captions and questions with 5 % of the attributes misread, as a machine that annotates errs; test labels are the
truth. At scale `small` the language model is made from scratch: {STEPS} steps on captions without pictures, then
{STEPS} steps of the three stages together, each of {CHATS} chats. A stage that begins alike in several arms of a seed
is trained once. It answers by likelihood; up to {ASKED} test questions of each task. Nearly all captions tell a
held-out item, if only that it is absent, so that condition U leaves few; M5.told compares it with as many captions of
the same lengths, drawn by chance. Scale `full` is the recipe `paper` on data of your own.""",
)
