"""How well a learned concept draws: what the prompt says, who the subject is, and what leaked along with it.

All of them work on embeddings that some encoder made. Which encoder, and at which scale, belongs beside every number:
cosines of two encoders mean different things, and some code reports 2.5 max(cosine, 0) in place of the cosine.

    text alignment         cosine of a picture and its prompt (CLIP-T with CLIP's encoders)
    subject fidelity       mean cosine of a picture and all training pictures (CLIP-I, DINO-I)
    foreground fidelity    the same, to training pictures that are reduced to the subject
    leak gap               subject fidelity less foreground fidelity: what is like the pictures but not like the subject

Shapes      N drawn pictures   R training pictures   D width of the embedding   H, W picture
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semeia.metrics.faces import bootstrap

CLIP_FACTOR = 2.5
"""Of CLIPScore (Hessel et al., arXiv 2104.08718), which Custom Diffusion's evaluation code reports."""


@dataclass(frozen=True)
class ConceptScores:
    """One value a drawn picture, each (N,); NaN where a picture has none."""

    text: np.ndarray
    subject: np.ndarray
    foreground: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """(N,) leak gap."""
        return self.subject - self.foreground


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, R) cosine of every row of one array (N, D) with every row of another (R, D).

    A row of zeros has no direction: its cosines are NaN.
    """
    return _directions(one) @ _directions(other).T


def text_alignment(pictures: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """(N,) cosine of each picture (N, D) with its own prompt (N, D).

    In the prompt the class word stands where the learned word was: an encoder cannot know that one.
    """
    return np.asarray((_directions(pictures) * _directions(prompts)).sum(1))


def fidelity(pictures: np.ndarray, references: np.ndarray) -> np.ndarray:
    """(N,) mean cosine of each picture (N, D) with all references (R, D).

    Subject fidelity where the references are the training pictures, foreground fidelity where they were reduced to the
    subject; the drawn picture is whole in both [INFERRED: the caption of DETEX's table reduces the references alone].
    """
    return np.asarray(cosines(pictures, references).mean(1))


def concept_scores(
    pictures: np.ndarray, text: np.ndarray, references: np.ndarray, foregrounds: np.ndarray
) -> ConceptScores:
    """Scores of drawn pictures by one encoder.

    Args:
        pictures: ``(N, D)``.
        text: ``(N,)`` text alignment, by whatever reads text.
        references: ``(R, D)`` training pictures.
        foregrounds: ``(R, D)`` the same, reduced to the subject.
    """
    return ConceptScores(text, fidelity(pictures, references), fidelity(pictures, foregrounds))


def clip_score(cosine: np.ndarray) -> np.ndarray:
    """2.5 max(cosine, 0), the scale of CLIPScore."""
    return CLIP_FACTOR * np.maximum(cosine, 0)


def mean_interval(
    values: np.ndarray, subjects: Sequence[str], prompts: Sequence[str], *, rounds: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean with its 95 % interval under resampling of pairs of subject and prompt.

    Pictures of one pair differ in their seed alone and stay together. For the difference of two methods give the
    differences of pictures of the same subject, prompt and seed.

    Args:
        values: ``(N,)``; NaN is left out.
        subjects: N.
        prompts: N.
        rounds: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        Mean, lower and upper end.
    """
    pairs = pairs_of(subjects, prompts)

    def mean(rows: np.ndarray) -> float:
        known = values[rows][~np.isnan(values[rows])]
        return float(known.mean()) if len(known) else float("nan")

    low, high = bootstrap(mean, pairs, seed=seed, rounds=rounds)
    return mean(np.arange(len(values))), float(low), float(high)


def pairs_of(subjects: Sequence[str], prompts: Sequence[str]) -> np.ndarray:
    """(N,) a name for each pair of subject and prompt."""
    return np.array([f"{subject} | {prompt}" for subject, prompt in zip(subjects, prompts, strict=True)])


def foreground(picture: np.ndarray, mask: np.ndarray, *, fill: int = 255) -> np.ndarray:
    """A picture (H, W, 3) uint8 with all that its mask (H, W) in [0, 1] leaves out painted in one grey.

    DETEX's table does not tell the colour; white by default, and black (0) moves the numbers: tell which.
    """
    share = mask.astype(np.float64)[..., None]
    return np.asarray((picture * share + fill * (1 - share)).round().astype(np.uint8))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks (H, W) of bool; NaN where both are empty."""
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else float("nan")


def _directions(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows.astype(np.float64), axis=-1, keepdims=True)
    return np.divide(rows, length, out=np.full(rows.shape, np.nan), where=length > 0)
