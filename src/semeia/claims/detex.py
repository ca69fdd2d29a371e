"""DETEX's claims: a subject's word that leaves background and pose behind follows prompts better and leaks less.

Of the paper its main table could be read; ablations and the list of prompts could not (docs/systems/detex.md). Margins
and metrics were written down before anything was run. Offline the numbers are proxies: readings of Q-Face, which no
concept learned from, on persons whom the base never saw. They are not CLIP-T, CLIP-I or DINO-I.

    detex                 words of pose and background by mappers, K and V tuned, attention loss, joint prompts
    custom diffusion      one word, K and V tuned
    textual inversion     one word
    dreambooth            a rare word that stays, the whole U-Net tuned
    no attention loss, no joint prompts, no mappers, no attribute words

Intervals are over pairs of subject and prompt: they stand in for the identities of other ledgers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Metric, Setting, Size

if TYPE_CHECKING:
    from semeia.concept_scores import Drawing, Study, Subject

STEPS = 100
"""Of a concept at the scale ``small``."""
NOT_WORSE = 0.01
"""Cosine by which foreground fidelity may be lower and count as kept; the paper's gain over Custom Diffusion is 0.0135
with CLIP."""


def mean_of(name: str) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """From sums (R, 2) of a value and of how often it is known, to its mean (R,)."""

    def value(sums: Mapping[str, np.ndarray]) -> np.ndarray:
        total, count = np.moveaxis(sums[name], -1, 0)
        return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)

    return value


def gap(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """(R,) subject fidelity less foreground fidelity."""
    return mean_of("subject")(sums) - mean_of("foreground")(sums)


COSINE = "cosine"
TEXT = Metric("text alignment, proxy", ("text",), mean_of("text"), "mean reading of what was asked")
SUBJECT = Metric("subject fidelity, proxy", ("subject",), mean_of("subject"), COSINE)
FOREGROUND = Metric("foreground fidelity, proxy", ("foreground",), mean_of("foreground"), COSINE)
GAP = Metric("leak gap, proxy", ("subject", "foreground"), gap, COSINE)
LOOK = Metric("attention of the subject's word inside its mask", ("attention",), mean_of("attention"), "IoU")
BEHIND = Metric(
    "nearer to a photo's background by its word", ("behind",), mean_of("behind"), "part of the range of colour"
)
TURN = Metric("nearer to a photo's yaw by its word", ("turn",), mean_of("turn"), "part of a right angle")
SAME = Metric("foreground fidelity kept under words of pose and background", ("same",), mean_of("same"), COSINE)

WAYS = {
    "detex": ("detex", "the system", ()),
    "custom diffusion": ("custom-diffusion", "one word, K and V tuned",
                         ("attributes", "joint", "masked", "attention_weight")),
    "textual inversion": ("textual-inversion", "one word that starts at the class",
                          ("attributes", "joint", "masked", "attention_weight", "tuned", "subject_init", "prior_weight",
                           "word_rate")),
    "dreambooth": ("dreambooth", "a rare word that stays, the whole U-Net tuned",
                   ("attributes", "joint", "masked", "attention_weight", "tuned", "learn_subject", "detach_first",
                    "tuned_rate")),
    "no attention loss": ("no-attention-loss", "attention is not led", ("attention_weight",)),
    "no joint prompts": ("no-joint-prompts", "every prompt has all words", ("joint",)),
    "no mappers": ("no-mappers", "a free vector for each photo", ("attributes_from",)),
    "no attribute words": ("no-attribute-words", "\"pose\" and \"background\" are not written", ("attribute_words",)),
}  # fmt: skip
"""Arms: name in ``systems.detex.ARMS``, words, and fields of the model that differ."""


def way(name: str) -> Callable[[Study], Study]:
    """Another way of learning at the same sizes."""

    def make(study: Study) -> Study:
        from semeia.predict.concepts import with_arm
        from semeia.recipes import detex as recipe

        return replace(study, model=with_arm(recipe.small(), name).model)

    return make


ARMS = tuple(
    Arm(name, words, way(known), tuple(f"model.{each}" for each in fields)) if fields else Arm(name, words)
    for name, (known, words, fields) in WAYS.items()
)

TABLE = "KNOWN: Table 1 of the paper, DETEX against Custom Diffusion"
OUGHT = "INFERRED: what the abstract says each part is for; no ablation could be read"
REASON = "what is learned is what the ways differ in; the base, the steps and the batches are the same"


def _claim(name: str, statement: str, source: str, arms: tuple[str, ...], metric: Metric, **more: Any) -> Claim:
    return Claim(name, statement, source, arms, metric, matched=False, reason=REASON, **more)


def _leaks(name: str, words: str, arm: str) -> Claim:
    return _claim(name, f"Without {words} more leaks", OUGHT, ("detex", arm), GAP, direction="lower")


CLAIMS = (
    _claim("D1", "DETEX follows prompts better than Custom Diffusion", TABLE, ("detex", "custom diffusion"), TEXT),
    _claim("D1.inversion", "DETEX follows prompts better than Textual Inversion", TABLE, ("detex", "textual inversion"),
           TEXT),
    _claim("D1.dreambooth", "DETEX follows prompts better than DreamBooth", TABLE, ("detex", "dreambooth"), TEXT),
    _claim("D2", "DETEX is not less like the subject's foreground than Custom Diffusion", TABLE,
           ("detex", "custom diffusion"), FOREGROUND, margin=NOT_WORSE),
    _claim("D3", "Less of the photos leaks than with Custom Diffusion", TABLE, ("detex", "custom diffusion"), GAP,
           direction="lower"),
    _claim("D4.background", "A photo's background word brings its background", "KNOWN: Figure 4 of the paper",
           ("detex",), BEHIND),
    _claim("D4.pose", "A photo's pose word brings its pose", "KNOWN: Figure 4 of the paper", ("detex",), TURN),
    _claim("D4.kept", "Words of pose and background leave the subject as it is", "KNOWN: Figure 4 of the paper",
           ("detex",), SAME, margin=NOT_WORSE),
    _leaks("D5.attention", "the attention loss", "no attention loss"),
    _leaks("D5.joint", "joint prompts", "no joint prompts"),
    _leaks("D5.mappers", "mappers", "no mappers"),
    _leaks("D5.words", "attribute words", "no attribute words"),
    _claim("D6", "The subject's word looks at the subject more than Custom Diffusion's", OUGHT,
           ("detex", "custom diffusion"), LOOK),
)  # fmt: skip

HEADINGS = {
    "D1": "Prompts are followed better",
    "D2": "The subject is as like itself",
    "D3": "Less of the photos leaks",
    "D4": "Words of pose and background carry these and nothing else",
    "D5": "Each part keeps the background out",
    "D6": "The subject's word looks at the subject",
}


def base(setting: Setting) -> Study:
    """The study at a scale."""
    from semeia.claims.qface import face_data
    from semeia.concept_scores import PROMPTS, Study
    from semeia.predict.concepts import with_arm
    from semeia.recipes import detex as recipe

    small = with_arm(recipe.small(), "detex")
    study = Study(model=small.model, data=face_data(setting.data), learning_rate=small.learning_rate,
                  batch_size=small.batch_size)  # fmt: skip
    how = replace(small.fit, steps=STEPS)
    if setting.scale == "smoke":
        study = replace(study, subjects=1, photos=2, prompts=PROMPTS[:2], noises=1, class_images=2, sample_steps=2)
        how = replace(small.fit, steps=2)
    elif setting.scale == "full":
        study = replace(study, subjects=20, noises=8, sample_steps=50)
        how = small.fit
    how = replace(how, seed=setting.seed, out=str(setting.out), eval_every=how.steps, save_every=how.steps)
    return replace(study, fit=how)


def size(study: Study) -> Size:
    """What is learned beside the base, and nothing of how: operations of one step of the base's U-Net."""
    import torch

    from semeia.diffusion import pipelines
    from semeia.ledger.matching import counted
    from semeia.systems import detex

    pipeline = pipelines.open_base(study.base)
    side, width = pipelines.latent_side(pipeline, None), pipelines.text_width(pipeline)
    latent, told = torch.zeros(1, pipeline.unet.config.in_channels, side, side), torch.zeros(1, 2, width)
    # Before the task puts its own attention into the U-Net.
    cost = counted(pipeline.unet, lambda unet: unet(latent, 0, encoder_hidden_states=told))
    encoder = pipelines.open_image_encoder(pipeline, None)
    features = torch.zeros(study.photos, 2, encoder.config.hidden_size)
    task = detex.build(
        study.model, pipeline=pipeline, class_word="person", trigger="<subject>", features=features,
        photos=study.photos, latent_side=side,
    )  # fmt: skip
    return Size(sum(p.numel() for p in task.parameters() if p.requires_grad), cost.flops)


def measure(study: Study, columns: frozenset[str]) -> Measured:
    """Learn every subject, draw every prompt, and add up what the encoder says of it."""
    from pathlib import Path

    from semeia import concept_scores as scoring

    out = Path(study.fit.out)
    encoder = scoring.open_encoder(study.encoder)
    names: list[str] = []
    rows: list[dict[str, np.ndarray]] = []
    for subject in scoring.held_out(study, out / "photos"):
        concept = scoring.learn(study, subject, out.parent / "classes")
        drawing = scoring.drawn(study, subject, concept)
        scores = score_of(encoder, subject, drawing)
        values = {"text": scores.text, "subject": scores.subject, "foreground": scores.foreground}
        look = scoring.attention_overlap(out / subject.folder.name)
        values["attention"] = np.full(len(drawing.pictures), look)
        if columns & {"behind", "turn", "same"} and study.model.attributes:
            values |= swapped(study, encoder, subject, concept=concept, plain=drawing, before=scores.foreground)
        pair = np.array(drawing.numbers)
        for number, text in enumerate(study.prompts):
            names.append(f"{subject.name} | {text}")
            rows.append({name: known(value[pair == number]) for name, value in values.items()})
    return Measured(tuple(names), {name: np.stack([row[name] for row in rows]) for name in rows[0]})


def known(values: np.ndarray) -> np.ndarray:
    """(2,) sum of values that are known, and how many they are."""
    there = ~np.isnan(values)
    return np.array([values[there].sum(), there.sum()], float)


def score_of(encoder: Any, subject: Subject, drawing: Drawing) -> Any:
    """Scores of what was drawn of a subject."""
    from semeia.concept_scores import score

    return score(encoder, drawing.pictures, drawing.prompts, references=subject.photos, masks=subject.masks)


def swapped(
    study: Study, encoder: Any, subject: Subject, *, concept: Any, plain: Drawing, before: np.ndarray
) -> dict[str, np.ndarray]:
    """What the words of a photo's background and pose change: (N,) each, against the same drawings without them."""
    from semeia.concept_scores import Proxy, border_colour, drawn, enlarged, open_encoder

    behind = drawn(study, subject, concept, background_of_photo=True)
    turned = drawn(study, subject, concept, pose_of_photo=True)
    photos = [subject.photos[number % len(subject.photos)] for number in plain.numbers]

    def colours(pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([border_colour(picture) for picture in pictures]) / 255  # (N, 3)

    wanted = colours(photos)
    far = [np.abs(colours(each.pictures) - wanted).mean(1) for each in (plain, behind)]
    proxy: Any = encoder if isinstance(encoder, Proxy) else open_encoder("proxy")

    def yaws(pictures: Sequence[np.ndarray]) -> np.ndarray:
        faces = [proxy.reader.read(enlarged(picture)) for picture in pictures]
        return np.array([found[0].pose.yaw if found else np.nan for found in faces])

    yaw = yaws(photos)
    off = [np.abs(yaws(each.pictures) - yaw) / 90 for each in (plain, turned)]
    kept = [score_of(encoder, subject, each).foreground - before for each in (behind, turned)]
    return {"behind": far[0] - far[1], "turn": off[0] - off[1], "same": np.mean(kept, axis=0)}


LEDGER = Ledger(
    system="detex",
    title="DETEX (arXiv 2312.11826)",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    free=("model",),
    shown=(TEXT, SUBJECT, FOREGROUND, GAP),
    about=f"""Learned on the bundled base `face_diffusion`, from 4 photos each of 5 persons of the face world's split
`test` (`semeia make faces worlds/faces --count 26600 --seed 1`), whom the base never saw. At scale `small` every way of
learning takes {STEPS} steps of 4 photos and as many class pictures, with exact masks; 10 prompts are drawn from 4
noises each by 15 steps of DDIM at guidance 6. Scores are **proxies** by Q-Face, not CLIP's or DINO's: text
alignment is the mean reading of what a prompt asks for, fidelity the raw cosine of mean tokens of whole pictures;
foregrounds stand on white. Rows are tested on pairs of subject and prompt.""",
)
