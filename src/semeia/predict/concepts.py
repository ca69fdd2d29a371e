"""Subjects as words of a text-to-image model: learn one from photos, draw with it.

learn("photos/", "dog", out="runs/rex")
artist = Artist.load("runs/rex")
artist.draw("photo of a <rex> in a garden", seeds=[0, 1], background_of=2)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from semeia.diffusion import pipelines
from semeia.diffusion.export import Concept, apply_tuned, read_concept
from semeia.diffusion.sampling import Drawn, draw, rows_of
from semeia.diffusion.words import LEARNED, Vocabulary, ordinary, stem
from semeia.recipes import detex as recipe
from semeia.records import SemeiaError
from semeia.systems import detex
from semeia.train import launch

BASE = "face_diffusion"
"""The bundled base."""


def learn(
    photos: str | Path | Sequence[str | Path],
    class_word: str,
    *,
    out: str | Path,
    base: Any = BASE,
    trigger: str | None = None,
    masks: str | Path = "auto",
    scale: str = "small",
    arm: str = "detex",
    steps: int | None = None,
    seed: int = 0,
    image_encoder: str | None = None,
    class_folder: str | Path | None = None,
    resume: bool = True,
    progress: bool = False,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Learn a subject and return the folder of its words.

    Args:
        photos: A folder or files.
        class_word: What the subject is, such as ``dog``.
        out: Folder of the run; a run that was stopped goes on there.
        base: A pipeline of the Stable-Diffusion-1.5 class by name, folder or object.
        trigger: The subject's word, such as ``<rex>``; after ``out`` by default.
        masks: ``auto``, ``face``, ``salient``, ``none`` or a folder.
        scale: ``smoke``, ``small`` or ``paper``.
        arm: The system, ``detex``, or one of its baselines and ablations (``systems.detex.ARMS``).
        steps: In place of the scale's own.
        seed: Of all randomness.
        image_encoder: Of the mappers; the base's own by default.
        class_folder: Pictures of the class, in place of drawn ones.
        resume: Go on from what is in ``out``.
        progress: Show progress on stderr.
        say: Told what was assumed.

    Raises:
        SemeiaError: See ``recipes.detex.train``.
    """
    if scale not in recipe.SCALES or arm not in detex.ARMS:
        raise SemeiaError(f"expected a scale of {', '.join(recipe.SCALES)} and an arm of {', '.join(detex.ARMS)}; "
                          f"found {scale!r} and {arm!r}")  # fmt: skip
    config = with_arm(recipe.SCALES[scale](), arm)
    named = [photos] if isinstance(photos, str | Path) else list(photos)
    data = recipe.PhotoData(photos=tuple(map(str, named)), masks=str(masks))
    how = replace(config.fit, out=str(out), seed=seed, steps=steps or config.fit.steps)
    config = replace(
        config, data=data, class_word=class_word, trigger=trigger, fit=how, image_encoder=image_encoder,
        base=base if isinstance(base, str) else str(base) if isinstance(base, Path) else type(base).__name__,
        class_folder=None if class_folder is None else str(class_folder),
    )  # fmt: skip
    own = None if isinstance(base, str | Path) else base
    return recipe.train(config, base=own, resume=resume, progress=progress, say=say)


def with_arm(config: recipe.Config, arm: str) -> recipe.Config:
    """A configuration with the words and losses of an arm, at the scale's own sizes and times its own rates."""
    chosen, own = detex.ARMS[arm], config.model
    model = replace(
        chosen, mapper_width=own.mapper_width, word_rate=chosen.word_rate * own.word_rate, mapper_rate=own.mapper_rate
    )
    return replace(config, model=model)


class Artist:
    """A base with a learned concept.

    Args:
        pipeline: The base; the concept's tuned weights are put into it.
        concept: The words.
        name: Of the concept, for messages.

    Attributes:
        notes: What was assumed, one sentence each.

    Raises:
        SemeiaError: The concept was learned on a base of another width.
    """

    def __init__(self, pipeline: Any, concept: Concept, *, name: str) -> None:
        width = pipelines.text_width(pipeline)
        if concept.width != width:
            raise SemeiaError(
                f"{name}: {concept.trigger} has vectors of width {concept.width}, this base reads width {width};"
                f" use the base that it was learned on{f' ({concept.base})' if concept.base else ''}"
            )
        Vocabulary(pipeline.tokenizer, list(rows_of(concept.words)))  # refuses words that the base has
        self.notes: tuple[str, ...] = ()
        if concept.fingerprint and concept.fingerprint != pipelines.fingerprint(pipeline):
            self.notes = (
                f"{name} was learned on {concept.base}, whose vocabulary is not this base's: the subject may be lost",
            )
        apply_tuned(pipeline.unet, concept.tuned, source=name)
        self.pipeline, self.concept = pipeline, concept

    @classmethod
    def load(cls, concept: str | Path, base: Any = None, *, device: str = "auto") -> Artist:
        """Load a concept and its base.

        Args:
            concept: A folder of ``learn``, or a one-key .safetensors embedding of any tool.
            base: By name, folder or object; by default the one that the concept names.
            device: ``auto``, ``cpu`` or ``cuda``.

        Raises:
            SemeiaError: One of them cannot be read, or they do not fit.
        """
        learned = read_concept(concept)
        if base is None and not learned.base:
            raise SemeiaError(f"{concept}: an embedding names no base; name it with --base")
        pipeline = pipelines.open_base(learned.base if base is None else base)
        artist = cls(pipeline, learned, name=str(concept))
        pipeline.to(launch.accelerator(device=device, precision="no").device)
        return artist

    def told(self, prompt: str, *, pose_of: int | None = None, background_of: int | None = None) -> str:
        """A prompt as the base is told it: with the class after the subject's word, and the words of attributes.

        Args:
            prompt: With the subject's word, or with attributes alone.
            pose_of: Number of the photo, from 1, whose pose is kept.
            background_of: Likewise.

        Raises:
            SemeiaError: It has no learned word or an unknown one, or the photo has no such word.
        """
        c, learned = self.concept, ", ".join(self.concept.words)
        known = [word for word in c.words if word in prompt]
        unknown = sorted({word for word in LEARNED.findall(prompt) if word.rstrip("_0123456789") not in c.words
                          and word not in c.words})  # fmt: skip
        if unknown:
            raise SemeiaError(f"prompt {prompt!r}: {unknown[0]} was not learned; known: {learned}")
        if not known and pose_of is None and background_of is None:
            raise SemeiaError(f"prompt {prompt!r}: expected the subject's word in it, as in 'photo of a {c.trigger} in "
                              f"a garden', found none of {learned}")  # fmt: skip
        if c.class_word:
            follows = rf"{re.escape(c.trigger)}(?!_\d)(?! {re.escape(c.class_word)}\b)"
            prompt = re.sub(follows, f"{c.trigger} {c.class_word}", prompt)
        for attribute, joins, photo in (("pose", "with", pose_of), ("background", "in", background_of)):
            if photo is not None:
                word = self._attribute(attribute, photo)
                prompt = f"{prompt.rstrip(' .')} {joins} {word}" + (f" {attribute}" if c.attribute_words else "")
        return prompt

    def _attribute(self, attribute: str, photo: int) -> str:
        word = self.concept.word_of(attribute, photo)
        if word not in self.concept.words:
            count = len(self.concept.photos)
            numbers = f"photos 1 to {count}" if attribute in self.concept.attributes else "no photo"
            raise SemeiaError(f"{attribute} of photo {photo}: this concept has the {attribute} of {numbers}")
        return word

    def draw(
        self,
        prompt: str,
        *,
        seeds: Sequence[int] = (0,),
        pose_of: int | None = None,
        background_of: int | None = None,
        steps: int = 50,
        guidance: float = 6.0,
        negative: str | None = None,
        side: int | None = None,
        sampler: str | None = None,
        on_picture: Callable[[Drawn], None] | None = None,
    ) -> list[Drawn]:
        """Draw a prompt once for each seed.

        Args:
            prompt: See ``told``.
            seeds: Of the noise.
            pose_of: See ``told``.
            background_of: See ``told``.
            steps: Of the sampler.
            guidance: Scale of classifier-free guidance.
            negative: What to keep away from.
            side: Pixels along a picture; as learned by default.
            sampler: ``ddim``, or None for the base's own scheduler.
            on_picture: Called with each picture.

        Raises:
            SemeiaError: See ``told``; or a size that the base cannot draw.
        """
        text = self.told(prompt, pose_of=pose_of, background_of=background_of)
        if side is not None:
            pipelines.latent_side(self.pipeline, side)
        words = {word: vectors.to(self.pipeline.device) for word, vectors in self.concept.words.items()}
        found = []
        with pipelines.own_scheduler(self.pipeline, sampler), torch.no_grad():
            for seed in seeds:
                drawn = draw(
                    self.pipeline, text, seed=seed, steps=steps, guidance=guidance, negative=negative, words=words,
                    side=side or (self.concept.side if self.concept.base else None),
                )  # fmt: skip
                found.append(drawn)
                if on_picture is not None:
                    on_picture(drawn)
        return found

    def doubts(self, prompt: str) -> tuple[str, ...]:
        """What there is to tell of a prompt as it is told to the base: what the base does not read of it."""
        beyond = Vocabulary(self.pipeline.tokenizer, list(rows_of(self.concept.words))).beyond(prompt)
        cut = (f"{prompt!r} is longer than the base reads: its last {beyond} tokens are cut off",) if beyond else ()
        word = self.concept.trigger
        bare = re.search(rf"(?<![<\w]){re.escape(stem(word))}(?![>\w])", prompt) and word not in prompt
        if bare and ordinary(word, self.pipeline.tokenizer):
            return (*cut, f"{prompt!r}: {stem(word)!r} without brackets is the base's own word, not {word}")
        return cut
