"""What a text-to-image base of heads draws, what ways of learning a concept come to on it, and what a step costs.

    python benchmarks/concepts.py reckon      processor time of the recipe `small` of the base; nothing is trained
    python benchmarks/concepts.py base        does the base draw what a prompt asks for?
    python benchmarks/concepts.py table       DETEX and three baselines, intervals over subject x prompt
    python benchmarks/concepts.py speed       steps a second beside diffusers' own textual inversion

Scores are proxies by Q-Face unless --encoder names CLIP or DINO (`semeia.concept_scores`). Times are processor times of
one thread; ratios of rows of one run mean more than the numbers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from semeia.claims import detex as claims
from semeia.concept_scores import PROMPTS, Study, attention_overlap, drawn, held_out, learn, open_encoder
from semeia.diffusion import pipelines
from semeia.diffusion.sampling import draw
from semeia.ledger.claims import Setting
from semeia.metrics.concepts import mean_interval
from semeia.predict.concepts import with_arm
from semeia.recipes import detex as concept_recipe
from semeia.recipes import face_diffusion as base_recipe
from semeia.systems import detex, face_diffusion
from semeia.train.optimisers import adamw

WAYS = ("detex", "custom diffusion", "textual inversion", "dreambooth")
BATCH = 4


def milliseconds(step: Callable[[], object], rounds: int = 7) -> float:
    """Of a step: mean of the three fastest of several, after one that is not counted."""
    step()
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        step()
        taken.append(time.process_time() - began)
    return 1e3 * sum(sorted(taken)[:3]) / 3


def stepper(task: Any, batch: dict[str, torch.Tensor], rate: float = 1e-4) -> Callable[[], None]:
    """One training step of a task."""
    optimizer = adamw(task, lr=rate, weight_decay=0.01)["main"]

    def step() -> None:
        optimizer.zero_grad()
        task(batch)["loss"].backward()
        optimizer.step()

    return step


def reckon() -> None:
    """Print parameters, processor time an image, and what the recipe `small` of the base comes to."""
    torch.set_num_threads(1)
    config, count = base_recipe.small(), 8
    base = face_diffusion.build(config.model)
    side, latent = config.model.image_size, base.denoiser.unet.config.sample_size
    batch = {
        "image": torch.rand(count, 3, side, side),
        "latent": torch.randn(count, config.model.latent_channels, latent, latent),
        "tokens": base.tokens(["a photo of a woman with black hair smiling in a dark green background"] * count),
    }
    stages = (*base_recipe.stages(base, config), ("denoiser", base.denoiser, config))
    print("| stage | parameters | ms an image | steps | images a step | CPU minutes |\n|---|---|---|---|---|---|")
    total = 0.0
    for name, task, stage in stages:
        each = milliseconds(stepper(task, batch), rounds=3) / count
        steps = config.fit.steps if name == "denoiser" else stage.steps
        minutes = each * steps * stage.batch_size / 6e4
        total += minutes
        million = sum(p.numel() for p in task.parameters()) / 1e6
        print(f"| {name} | {million:.2f} M | {each:.1f} | {steps} | {stage.batch_size} | {minutes:.0f} |", flush=True)
    each = milliseconds(lambda: base.autoencoder.latents(batch["image"]), rounds=3) / count
    pictures = 2 * 21_077  # the training split of the face world, as it is and mirrored
    total += each * pictures / 6e4
    print(
        f"| latents | | {each:.1f} | | {pictures} in all | {each * pictures / 6e4:.0f} |\n| all | | | | | {total:.0f} |"
    )


def what_it_draws(args: argparse.Namespace) -> None:
    """Print how often the base shows what it was asked for, beside the same pictures' prompt without the asking."""
    encoder, pipeline = open_encoder(args.encoder), pipelines.open_base(args.base)
    print(f"{encoder.name}: {encoder.scale}\n\n| prompt | asked | not asked |\n|---|---|---|")
    differences = []
    plain = pictures_of(pipeline, "photo of a person", args)
    for text in PROMPTS:
        prompt = text.replace("{}", "person")
        asked = encoder.alignment(pictures_of(pipeline, prompt, args), [prompt] * args.noises)
        other = encoder.alignment(plain, [prompt] * args.noises)
        differences += list(asked - other)
        print(f"| {prompt} | {np.nanmean(asked):.3f} | {np.nanmean(other):.3f} |", flush=True)
    names = [text for text in PROMPTS for _ in range(args.noises)]
    mean, low, high = mean_interval(np.array(differences), ["base"] * len(names), names)
    print(f"\nasked less not asked: {mean:.3f}, {low:.3f} to {high:.3f} over {len(PROMPTS)} prompts")


def pictures_of(pipeline: Any, prompt: str, args: argparse.Namespace) -> list[np.ndarray]:
    """A prompt from every noise."""
    with pipelines.own_scheduler(pipeline, "ddim"):
        return [draw(pipeline, prompt, seed=s, steps=args.steps, guidance=args.guidance).image
                for s in range(args.noises)]  # fmt: skip


def table(args: argparse.Namespace) -> None:
    """Learn every subject in every way, and print scores with intervals over pairs of subject and prompt."""
    encoder = open_encoder(args.encoder)
    out = Path(args.out or tempfile.mkdtemp())
    setting = Setting("small", args.seed, tuple(args.data), out)
    study = replace(claims.base(setting), base=args.base, encoder=args.encoder, subjects=args.subjects,
                    noises=args.noises, sample_steps=args.steps, guidance=args.guidance)  # fmt: skip
    if args.learn_steps:
        study = replace(study, fit=replace(study.fit, steps=args.learn_steps))
    print(f"{encoder.name}: {encoder.scale}; {study.subjects} subjects x {len(study.prompts)} prompts x {study.noises} "
          f"noises, {study.fit.steps} steps, seed {args.seed}; 95 % intervals over subject x prompt\n")  # fmt: skip
    print("| way | text alignment | subject fidelity | foreground fidelity | leak gap | attention IoU | minutes |\n"
          "|---|---|---|---|---|---|---|")  # fmt: skip
    found: dict[str, dict[str, np.ndarray]] = {}
    people: list[str] = []
    for arm in (each for each in claims.ARMS if each.name in (args.ways or WAYS)):
        began = time.process_time()
        values, people, prompts = run_way(replace(arm.make(study), fit=replace(study.fit, out=str(out / arm.name))),
                                          encoder, out)  # fmt: skip
        found[arm.name] = values
        cells = [told(values[name], people, prompts) for name in ("text", "subject", "foreground", "gap")]
        minutes = (time.process_time() - began) / 60
        print(f"| {arm.name} | {' | '.join(cells)} | {np.mean(values['look']):.3f} | {minutes:.1f} |", flush=True)
    if "detex" in found and len(found) > 1:
        print("\n| DETEX less | text alignment | subject fidelity | foreground fidelity | leak gap |")
        print("|---|---|---|---|---|")
        for name, values in found.items():
            if name != "detex":
                cells = [told(found["detex"][column] - values[column], people, prompts)
                         for column in ("text", "subject", "foreground", "gap")]  # fmt: skip
                print(f"| {name} | {' | '.join(cells)} |")


def run_way(study: Study, encoder: Any, out: Path) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Scores (N,) of one way of learning, and the subject and prompt of each picture."""
    parts: list[dict[str, np.ndarray]] = []
    people: list[str] = []
    prompts: list[str] = []
    for subject in held_out(study, out / "photos"):
        drawing = drawn(study, subject, learn(study, subject, out / "classes"))
        scores = claims.score_of(encoder, subject, drawing)
        look = np.array([attention_overlap(Path(study.fit.out) / subject.folder.name)])
        parts.append({"text": scores.text, "subject": scores.subject, "foreground": scores.foreground,
                      "gap": scores.gap, "look": look})  # fmt: skip
        people += [subject.name] * len(drawing.pictures)
        prompts += [study.prompts[number] for number in drawing.numbers]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, people, prompts


def told(values: np.ndarray, people: Sequence[str], prompts: Sequence[str]) -> str:
    """Mean and interval as a cell of a table."""
    mean, low, high = mean_interval(values, people, prompts)
    return f"{mean:.4f} ({low:.4f} to {high:.4f})"


def speed(args: argparse.Namespace) -> None:
    """Print the cost of a training step, beside that of diffusers' example of textual inversion on the same base."""
    torch.set_num_threads(1)
    rows = {"diffusers' textual inversion": inversion_step(args.base)}
    rows |= {name: concept_step(args.base, claims.WAYS[name][0]) for name in WAYS}
    taken = {name: milliseconds(step) for name, step in rows.items()}
    first = taken["diffusers' textual inversion"]
    print(f"base {args.base}, {BATCH} photos a step, no class pictures\n")
    print("| step | ms | steps a second | of diffusers' |\n|---|---|---|---|")
    for name, each in taken.items():
        print(f"| {name} | {each:.0f} | {1e3 / each:.2f} | {first / each:.2f} |")


def concept_step(base: str, arm: str) -> Callable[[], None]:
    """One training step of this library, latents taken from memory as its recipe does."""
    pipeline = pipelines.open_base(base)
    side, channels = pipelines.latent_side(pipeline, None), pipeline.vae.config.latent_channels
    config = with_arm(concept_recipe.small(), arm)
    pictures = torch.rand(BATCH, 3, *(2 * [side * pipelines.scale_factor(pipeline)]))
    features = pipelines.image_features(pipeline, pipelines.open_image_encoder(pipeline, None), pictures)
    task = detex.build(config.model, pipeline=pipeline, class_word="person", trigger="<subject>", features=features,
                       photos=BATCH, latent_side=side)  # fmt: skip
    row = 0 if config.model.attributes else 2
    batch = {"mean": torch.randn(BATCH, channels, side, side), "deviation": torch.zeros(BATCH, channels, side, side),
             "mask": torch.ones(BATCH, side, side), "photo": torch.arange(BATCH),
             "row": torch.full((BATCH,), row)}  # fmt: skip
    return stepper(task, batch, config.learning_rate)


def inversion_step(base: str) -> Callable[[], None]:
    """A step of diffusers' examples/textual_inversion, written out.

    The whole table of vectors is trained, the rows of other words are put back, and photos pass the autoencoder at
    every step.
    """
    diffusers, _ = pipelines.load_library()
    pipeline = pipelines.open_base(base)
    tokenizer, text, unet, vae = pipeline.tokenizer, pipeline.text_encoder, pipeline.unet, pipeline.vae
    tokenizer.add_tokens(["<subject>"])
    text.resize_token_embeddings(len(tokenizer))
    word = tokenizer.convert_tokens_to_ids("<subject>")
    table = text.get_input_embeddings().weight.requires_grad_()
    before = table.detach().clone()
    optimizer = torch.optim.AdamW([table], lr=5e-4, weight_decay=1e-2)
    scheduler = diffusers.DDPMScheduler.from_config(pipeline.scheduler.config)
    side = pipelines.latent_side(pipeline, None) * pipelines.scale_factor(pipeline)
    pixels = torch.rand(BATCH, 3, side, side) * 2 - 1
    ids = tokenizer(["a photo of a <subject>"] * BATCH, padding="max_length", truncation=True,
                    max_length=tokenizer.model_max_length, return_tensors="pt").input_ids  # fmt: skip
    others = torch.arange(len(tokenizer)) != word

    def step() -> None:
        latents = vae.encode(pixels).latent_dist.sample().detach() * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        times = torch.randint(0, scheduler.config.num_train_timesteps, (BATCH,))
        said = unet(scheduler.add_noise(latents, noise, times), times, text(ids)[0]).sample
        F.mse_loss(said, noise).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            table[others] = before[others]

    return step


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("reckon", "base", "table", "speed"))
    parser.add_argument("--base", default="face_diffusion", help="bundled name, folder, or name on the Hub")
    parser.add_argument("--encoder", default="proxy", help="proxy, clip, dino, clip:NAME or dino:NAME")
    parser.add_argument("--data", nargs="+", default=["worlds/faces"], help="faces with regions")
    parser.add_argument("--out", help="folder of the runs of `table`, which go on there; a temporary one by default")
    parser.add_argument("--ways", nargs="+", choices=[arm.name for arm in claims.ARMS], help="of `table`")
    parser.add_argument("--subjects", type=int, default=5)
    parser.add_argument("--noises", type=int, default=4, help="seeds of each prompt")
    parser.add_argument("--steps", type=int, default=15, help="of DDIM")
    parser.add_argument("--guidance", type=float, default=6.0)
    parser.add_argument("--learn-steps", type=int, help=f"of a concept; {claims.STEPS} by default")
    parser.add_argument("--seed", type=int, default=0, help="of learning")
    args = parser.parse_args()
    if args.what == "reckon":
        reckon()
    else:
        {"base": what_it_draws, "table": table, "speed": speed}[args.what](args)


if __name__ == "__main__":
    main()
