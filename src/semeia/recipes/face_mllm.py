"""Face-MLLM: three stages, from a language model that cannot see to one that answers questions about faces.

    semeia make faces worlds/faces --count 26600 --seed 1
    semeia train face_mllm --data worlds/faces --out runs/face_mllm
    semeia evaluate face_mllm --data worlds/faces --weights runs/face_mllm/checkpoint

    align     captions of re-annotated faces          projector
    basic     questions on re-annotated attributes    projector and language model
    special   questions of classical face sets, and   projector and language model
              some of those before

Each stage is a call of the one loop, below a folder of its own. After ``align`` captions are told with the pictures of
others: if that costs nothing, nothing is seen. A language model that is made here (``--model.lm tiny``) first learns
its language from captions without pictures, which stands in for the pre-training of others.

On questions of your own: ``--data.questions FILE`` with LLaVA's JSON or TRL's messages, as ``semeia annotate`` writes.

``smoke`` runs in under a minute on anything, ``small`` is for two cores, ``paper`` has LLaVA-1.5's values, for the
paper's own could not be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import torch
from accelerate import PartialState

from semeia import checkpoint
from semeia.answer_scores import (
    answer_questions,
    answer_table,
    caption_losses,
    is_closed,
    majority_answers,
    similarity_answers,
)
from semeia.data.formats.face_files import Faces
from semeia.evaluate import Score, score_table
from semeia.files import write_whole
from semeia.language.models import (
    SMOLLM2,
    TINY,
    load_adapter,
    merged,
    open_lm,
    save_adapter,
    save_lm,
    tiny_lm,
    word_tokenizer,
)
from semeia.nn.stages import FINE_VIT
from semeia.question_sets import (
    CAPTION,
    Pictures,
    Question,
    QuestionData,
    QuestionFeed,
    held_out_questions,
    open_questions,
)
from semeia.recipes._cards import trained_by
from semeia.recipes._face_mllm_stages import few, limited, of_part, stage_questions, unheld
from semeia.recipes.face_mae import load_prior
from semeia.records import SemeiaError
from semeia.systems.face_mllm import questions as asking
from semeia.systems.face_mllm.model import Config as ModelConfig
from semeia.systems.face_mllm.model import FaceMLLM, Stage, build
from semeia.systems.face_mllm.schema import ITEMS
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw

SYSTEM = "face_mllm"
ADAPTER, LANGUAGE, WHOLE = "adapter", "lm", "merged"
"""Folders in a checkpoint: of peft, of a language model made here, and of one with its adapters added."""


@dataclass(frozen=True)
class Part:
    """One of the three stages."""

    share: float = 0.3
    """Part of ``fit.steps``; 0 leaves the stage out."""
    learning_rate: float = 1e-3
    """Peak; a cosine leads to zero."""


@dataclass(frozen=True)
class Config:
    """Model, data, stages and optimiser of one training."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    data: QuestionData = field(default_factory=QuestionData)
    """Faces, or questions."""
    ask: asking.Config = field(default_factory=asking.Config)
    """What is asked of labelled faces, and which items are held out."""
    prior: str | None = "face_mae"
    """Checkpoint of ``face_mae`` whose ViT looks, by name or folder; unused with another backbone than ``fine_vit``."""
    language_steps: int = 0
    """Steps in which a language model that is made here learns its language; 0 for one that knows it."""
    align: Part = field(default_factory=lambda: Part(0.3, 1e-3))
    """Stage 1."""
    basic: Part = field(default_factory=lambda: Part(0.35, 2e-4))
    """Stage 2."""
    special: Part = field(default_factory=lambda: Part(0.35, 2e-4))
    """Stage 3."""
    replay: float = 0.1
    """Part of stage 3's batches that repeats stage 2's questions; none where stage 2 is left out."""
    annotations: Literal["both", "captions", "labels"] = "both"
    """What stage 2 learns from: questions on attributes, captions as answers, or both."""
    captions: Literal["detailed", "alt text"] = "detailed"
    """What stage 1 learns from; alt text says who, and of three pictures in ten says it of another."""
    condition: Literal["C", "U", "matched"] = "C"
    """``U`` drops captions that tell held-out items; ``C`` keeps them, as the paper's would be; ``matched`` keeps some,
    as many and as long as ``U`` does, whatever they tell."""
    part: float = 1.0
    """Part of the training pictures that is used; a smaller part lies in every larger one."""
    noise: float = 0.05
    """Part of the attributes of training faces that is misread, as a machine that annotates errs."""
    batch_size: int = 16
    """Chats a step and process."""
    weight_decay: float = 0.0
    """AdamW's. LLaVA-1.5: 0."""
    workers: int = 0
    """Processes that prepare batches."""
    validate: int = 64
    """Held-out questions that are read at each evaluation while training."""
    watch: int = 0
    """Test questions of each task that are put before the first and after each stage; 0 for none."""
    test: int | None = 300
    """Test questions of each task in the final table; all where it is null."""
    save_merged: bool = False
    """Also save the language model with its adapters added, which transformers opens alone."""
    rounds: int = 1000
    """Of the bootstrap that gives accuracies their intervals; 0 gives none."""
    fit: Fit = field(default_factory=Fit)
    """Steps of all three stages together, intervals, clipping."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    model = ModelConfig(lm=TINY, tiny_width=32, tiny_depth=1, tiny_heads=2)
    how = Fit(steps=6, log_every=2, eval_every=6, save_every=6)
    return Config(model=model, language_steps=2, batch_size=4, validate=8, test=4, rounds=0, fit=how)


def small() -> Config:
    """Two cores: SmolLM2 in bf16, a few hundred steps."""
    how = Fit(steps=300, log_every=10, eval_every=100, save_every=50)
    return Config(model=ModelConfig(lm_dtype="bfloat16"), batch_size=8, watch=50, fit=how)


def tiny() -> Config:
    """A language model made from scratch, for claims: minutes on two cores."""
    model = ModelConfig(lm=TINY)
    how = Fit(steps=1200, log_every=50, eval_every=400, save_every=400)
    return Config(
        model=model, language_steps=1200, align=Part(0.3, 1e-3), basic=Part(0.35, 5e-4), special=Part(0.35, 5e-4),
        batch_size=32, fit=how,
    )  # fmt: skip


def paper() -> Config:
    """LLaVA-1.5's values: CLIP ViT-L/14 at 336 pixels, Vicuna 7B, adapters of rank 128, on a card."""
    model = ModelConfig(
        backbone="vit_large_patch14_clip_336.openai", image_size=336, tap=-2, lm="lmsys/vicuna-7b-v1.5",
        mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711),
        lm_dtype="bfloat16", lora_rank=128, lora_alpha=256, longest=2048,
    )  # fmt: skip
    how = Fit(steps=6_000, accumulate=8, log_every=10, eval_every=1_000, save_every=500, precision="auto")
    return Config(
        model=model, prior=None, align=Part(0.2, 1e-3), basic=Part(0.4, 2e-4), special=Part(0.4, 2e-4),
        batch_size=16, workers=8, noise=0.0, validate=500, fit=how,
    )  # fmt: skip


SCALES = {"smoke": smoke, "small": small, "paper": paper}


# ---------------------------------------------------------------------------------------------------------------------
# Training


Opened = tuple[list[Question], dict[str, Faces]]
"""What ``open_questions`` gives."""


def train(config: Config, *, opened: Opened | None = None, resume: bool = True, progress: bool = True) -> Path:
    """Go through the stages, evaluate on the test split, and save ``config.fit.out / "checkpoint"``.

    Args:
        config: Of the training.
        opened: Questions of ``config.data`` where they were opened before, which takes half a minute for a large world.
        resume: Go on where an earlier run stopped.
        progress: Show progress.

    Raises:
        SemeiaError: No data, a stage without questions, shares beyond one, or a language model that cannot be had.
    """
    _check_shares(config)
    found, folders = opened or open_questions(config.data, ask=config.ask, noise=config.noise)
    training = of_part(unheld(_split(found, "train"), config), config.part)
    pictures = Pictures(folders, size=config.model.image_size, margin=config.model.margin)
    model = new_model(config, found)
    watched = _split(found, "val") or _split(found, "test")
    tested = put_to_the_test(config, found, folders)
    out = Path(config.fit.out)
    tables: dict[str, Any] = {}
    if config.watch:
        tables["before"] = _watched(model, tested, pictures, config.watch)
    for stage, part in planned(config):
        run_stage(
            model, config, stage, part, training=training, watched=watched, pictures=pictures, resume=resume,
            progress=progress,
        )  # fmt: skip
        if stage == "align":
            tables["control"] = caption_losses(model, _some(watched, CAPTION, 64), pictures)
        if config.watch and stage != "language":
            tables[stage] = _watched(model, tested, pictures, config.watch)
    place = out / "checkpoint"
    if not PartialState().is_main_process:
        return place
    chosen = limited(tested, config.test)
    scores = answer_table(answer_questions(model, chosen, pictures), rounds=config.rounds) if chosen else []
    baselines = baseline_tables(model, training, chosen, pictures)
    write_whole(out / "tables.json", json.dumps(tables | {"baselines": baselines}, indent=1).encode())
    save(model, place, card=card(config, training, scores, tables, baselines), whole=config.save_merged)
    return place


def run_stage(
    model: FaceMLLM, config: Config, stage: Stage, part: Part, *, training: Sequence[Question],
    watched: Sequence[Question], pictures: Pictures, resume: bool = True, progress: bool = True,
) -> None:  # fmt: skip
    """One stage, by the one loop.

    Raises:
        SemeiaError: There are no questions for it, or a weight that it must not change has changed.
    """
    model.begin(stage)
    before = model.frozen_digest()
    feed = QuestionFeed(
        stage_questions(stage, config, training), pictures=pictures, chat=model.chat, batch_size=config.batch_size,
        seed=config.fit.seed + crc32(stage.encode()) % 1000,
    )  # fmt: skip
    steps = steps_of(config, stage, part)
    how = replace(
        config.fit, steps=steps, warmup=min(steps, max(1, round(0.03 * steps))), out=Path(config.fit.out) / stage
    )  # fmt: skip
    some = few(watched, config.validate)
    asked = [question for question in some if is_closed(question)]

    def validate(task: FaceMLLM) -> dict[str, float]:
        if stage in ("language", "align"):
            return {f"caption loss, {n}": v for n, v in caption_losses(task, some, pictures).items()}
        scores = answer_table(answer_questions(task, asked, pictures, greedy=False)) if asked else []
        return {f"{s.task}/{s.metric}": s.value for s in scores if s.metric in ("accuracy", "mean absolute error")}

    fit(
        model, {"main": feed}, adamw(model, lr=part.learning_rate, weight_decay=config.weight_decay), how,
        evaluate=validate, resume=resume, progress=progress, workers=config.workers,
    )  # fmt: skip
    if model.frozen_digest() != before:
        raise SemeiaError(f"face_mllm: stage {stage} changed weights that it must not change")


def planned(config: Config) -> Iterator[tuple[Stage, Part]]:
    """The stages that are trained, in their order."""
    if config.model.lm == TINY and config.language_steps:
        yield "language", Part(0.0, 1e-3)
    stages: tuple[tuple[Stage, Part], ...] = (
        ("align", config.align), ("basic", config.basic), ("special", config.special),
    )  # fmt: skip
    yield from ((stage, part) for stage, part in stages if round(part.share * config.fit.steps))


def steps_of(config: Config, stage: Stage, part: Part) -> int:
    """Steps of a stage."""
    return config.language_steps if stage == "language" else round(part.share * config.fit.steps)


def _check_shares(config: Config) -> None:
    total = sum(part.share for part in (config.align, config.basic, config.special))
    if not 0 < total <= 1 + 1e-9 or min(config.align.share, config.basic.share, config.special.share) < 0:
        raise SemeiaError(f"face_mllm: shares of the three stages add up to {total:g}; expected parts of fit.steps, of "
                          "0 or more, that add up to at most 1")  # fmt: skip
    if not 0 < config.part <= 1 or not 0 <= config.replay < 1:
        raise SemeiaError(f"face_mllm: expected part in (0, 1] and replay in [0, 1), found {config.part:g} and "
                          f"{config.replay:g}")  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Models


def new_model(config: Config, found: Sequence[Question]) -> FaceMLLM:
    """The model before its first step.

    Args:
        config: Of the training.
        found: Questions; a vocabulary that is made here holds their words.

    Raises:
        SemeiaError: The language model or the prior cannot be had, or does not fit.
    """
    torch.manual_seed(config.fit.seed)
    how = config.model
    if how.lm == TINY:
        wordings = (way.format(item.phrase) for item in ITEMS.values() for way in asking.ASKED[item.verb])
        texts = [how.system, "USER: ASSISTANT: Describe a face.", asking.YES_NO, " ".join(map(str, range(10)))]
        # Each text once: half a million questions share a few thousand wordings.
        spoken = dict.fromkeys(turn.text for question in found for turn in question.turns)
        tokenizer = word_tokenizer(dict.fromkeys([*texts, *wordings, *spoken]))
        lm = _tiny(how, tokenizer)
    else:
        lm, tokenizer = open_lm(how.lm, dtype=how.lm_dtype)
    model = build(how, lm=lm, tokenizer=tokenizer)
    if how.backbone == FINE_VIT and config.prior is not None:
        load_prior(model.sight.backbone, config.prior, mean=how.mean, std=how.std)
    return model


def _tiny(config: ModelConfig, tokenizer: Any) -> Any:
    return tiny_lm(
        tokenizer, width=config.tiny_width, depth=config.tiny_depth, heads=config.tiny_heads, longest=config.longest
    )


def save(model: FaceMLLM, folder: str | Path, *, card: str, whole: bool = False) -> None:
    """Write a checkpoint: encoder and projector as ours, adapters as a folder of peft, the rest as transformers'.

        config.json  model.safetensors  card.md     encoder and projector
        adapter/                                    for ``PeftModel.from_pretrained(language model, adapter)``
        lm/                                         a language model that was made here, with its tokenizer
        merged/                                     ``whole``: for ``AutoModelForCausalLM.from_pretrained``

    Raises:
        SemeiaError: It cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if model.config.lm == TINY:
        save_lm(model.lm, model.tokenizer, folder / LANGUAGE)
    else:
        save_adapter(model.lm, folder / ADAPTER)
        if whole:
            save_lm(merged(model.lm), model.tokenizer, folder / WHOLE)
    checkpoint.save(folder, system=SYSTEM, config=model.config, state=model.sight.state_dict(), card=card)


def load(weights: str | Path) -> tuple[FaceMLLM, str]:
    """Open a checkpoint, by the name of bundled weights or by folder, in evaluation mode; and its name.

    Raises:
        SemeiaError: It does not exist, is damaged, or its language model cannot be had.
    """
    folder = Path(weights) if Path(weights).is_dir() else checkpoint.bundled(str(weights))
    config = checkpoint.load_config(folder, ModelConfig, system=SYSTEM)
    made = config.lm == TINY
    lm, tokenizer = open_lm(folder / LANGUAGE if made else config.lm, dtype=config.lm_dtype)
    model = build(config, lm=lm, tokenizer=tokenizer)
    if not made:
        load_adapter(model.lm, folder / ADAPTER)
    checkpoint.load_state(folder, model.sight)
    return model.eval(), folder.resolve().name


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation


def evaluate(
    weights: str | Path, data: QuestionData, *, split: str = "test", limit: int | None = None, rounds: int = 1000
) -> list[Score]:  # fmt: skip
    """Put the questions of a split to bundled weights or a checkpoint folder.

    Args:
        weights: Name or folder.
        data: Faces, or questions.
        split: Which are put.
        limit: Most questions of each task.
        rounds: Of the bootstrap.

    Raises:
        SemeiaError: No data, none of the split, or weights that cannot be opened.
    """
    model, _ = load(weights)
    ask = asking.Config()
    found, folders = open_questions(data, ask=ask)
    config = Config(model=model.config, data=data, ask=ask)
    asked = limited(put_to_the_test(config, found, folders, split=split), limit)
    if not asked:
        raise SemeiaError(f"face_mllm: expected closed questions in split {split!r}, found none")
    pictures = Pictures(folders, size=model.config.image_size, margin=model.config.margin)
    return answer_table(answer_questions(model, asked, pictures), rounds=rounds)


def put_to_the_test(
    config: Config, found: Sequence[Question], folders: Mapping[str, Any], *, split: str = "test"
) -> list[Question]:
    """Closed questions of a split, and of held-out items in every wording; none of their persons is trained on."""
    asked = [question for question in _split(found, split) if is_closed(question) and question.task != CAPTION]
    for faces in folders.values():
        asked += held_out_questions(faces, split, config.ask.held_out)
    return asked


def baseline_tables(
    model: FaceMLLM, training: Sequence[Question], tested: Sequence[Question], pictures: Pictures
) -> dict[str, list[dict[str, Any]]]:
    """What the majority answers, and similarity in the aligned space."""
    if not tested:
        return {}
    found = {
        "majority": majority_answers(training, tested),
        "similarity": similarity_answers(model, tested, pictures),
    }
    return {
        name: [score.as_dict() for score in answer_table(answered) if score.label == "by likelihood"]
        for name, answered in found.items()
    }


def _watched(model: FaceMLLM, tested: Sequence[Question], pictures: Pictures, count: int) -> list[dict[str, Any]]:
    some = limited(tested, count)
    return [score.as_dict() for score in answer_table(answer_questions(model, some, pictures))]


def _split(found: Sequence[Question], split: str) -> list[Question]:
    return [question for question in found if question.split == split]


def _some(found: Sequence[Question], task: str, count: int) -> list[Question]:
    return [question for question in found if question.task == task][:count]


def card(
    config: Config, training: Sequence[Question], scores: Sequence[Score], tables: Mapping[str, Any],
    baselines: Mapping[str, Any],
) -> str:  # fmt: skip
    """The model card."""
    control = tables.get("control") or {}
    told = ", ".join(f"{name} {value:.3f}" for name, value in control.items()) or "stage 1 was left out"
    rows = [f"| {name} | {s['task']} | {s['metric']} | {s['value']:.3f} |" for name, of in baselines.items() for s in of
            if s["value"] is not None]  # fmt: skip
    files = " ".join(Path(file).name for file in config.data.questions)
    data = " ".join(
        [f"--data {' '.join(f'worlds/{Path(f).name}' for f in config.data.faces)}"] * bool(config.data.faces)
        + [f"--data.questions {files}"] * bool(files)
    )
    lm = {SMOLLM2: "SmolLM2-135M-Instruct (the part `language-model`)", TINY: "made here from scratch"}
    return CARD.format(
        lm=lm.get(config.model.lm, config.model.lm), encoder=config.model.backbone, count=f"{len(training):,}",
        stages=", ".join(f"{stage} {steps_of(config, stage, part)}" for stage, part in planned(config)),
        batch=config.batch_size, seed=config.fit.seed, held=", ".join(config.ask.held_out), condition=config.condition,
        command=trained_by(config, system=SYSTEM, small=small(), data=data), control=told, table=score_table(scores),
        baselines="\n".join(["| baseline | task | metric | value |", "|---|---|---|---|", *rows]),
    )  # fmt: skip


CARD = """# Face-MLLM
Answers questions about a face in words. Language model: {lm}. Vision encoder: `{encoder}`, frozen.

## What it learned from
{count} questions and captions. Steps of {batch} chats, seed {seed}: {stages}. Never asked for in training: {held}
(condition {condition}).

```
{command}
```

## What was measured
The split `test`, other persons than those of the training; intervals are 95 % over persons. "by likelihood" takes the
likeliest option, "as said" parses what was said. Numbers on rendered faces say how well the mechanism was learned:
**they are not accuracy on people**.

Loss of captions after stage 1, with their own pictures and with those of others: {control}.

{table}

{baselines}

## What it cannot tell
- It is small: it may say what is not there. The readings that stand beside an answer are measured apart from it.
- Who a person is: it must not be used to identify anybody, and refuses to name people.
- How a face looks is not what a person feels, nor who they are. Not a medical device.

Licence: Apache-2.0.
"""
