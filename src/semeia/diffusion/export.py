"""A learned concept as files that other tools load.

    concept.json                                       what was learned, on which base; written last
    maya.safetensors                                   the subject's word: one key, ``<maya>``; stem = trigger word
    maya-pose-1.safetensors ...                        pose and background of each photo, likewise
    pytorch_custom_diffusion_weights.safetensors       cross-attention K and V, for ``unet.load_attn_procs``
    pytorch_lora_weights.safetensors                   the same as a LoRA of full rank, which is exact
    unet.safetensors                                   in place of both, where the whole U-Net was trained

One-key files are what diffusers, A1111 and ComfyUI read as a textual inversion: exactly one tensor, float32 ``[n, D]``,
named by its trigger in the file and by the file. Pickles (.pt, .bin, .ckpt) can run code when they are opened and are
neither written nor read.

Shapes      n vectors of a word   D width of a token's vector   O, I output and input of a linear map
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor

import semeia
from semeia.diffusion.words import stem
from semeia.files import writable_folder, write_whole
from semeia.nn.weight_files import read_tensors
from semeia.records import SemeiaError

INDEX = "concept.json"
CUSTOM = "pytorch_custom_diffusion_weights.safetensors"
LORA = "pytorch_lora_weights.safetensors"
UNET = "unet.safetensors"
Tuned = Literal["none", "kv", "unet"]

_PICKLES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"})
_KV = re.compile(r"(.*\.attn2)\.to_(k|v)\.weight")
_WIDTHS = (8, 4096)


@dataclass(frozen=True)
class Concept:
    """What was learned of one subject.

    ``words`` are vectors (n, D) float32 by word, the subject's first; ``trigger`` is that word. ``photos`` are file
    names in the order of their numbers. ``tuned`` are tensors of the U-Net by their own names. ``base`` is what the
    base was called, ``fingerprint`` what its vocabulary was, ``side`` the pixels along a picture. ``attributes`` are
    those of pose and background that have words; ``attribute_words`` says whether "pose" and "background" follow them.
    """

    trigger: str
    class_word: str
    words: dict[str, Tensor] = field(repr=False)
    base: str = ""
    fingerprint: str = ""
    side: int = 512
    photos: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    attribute_words: bool = True
    kind: Tuned = "none"
    tuned: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def width(self) -> int:
        """D."""
        return int(self.words[self.trigger].shape[1])

    def word_of(self, attribute: str, photo: int) -> str:
        """The word of an attribute of photo number ``photo``, counted from 1."""
        return f"<{stem(self.trigger)}-{attribute}-{photo}>"


# -- one-key embeddings


def write_embedding(folder: Path, word: str, vectors: Tensor, *, base: str) -> Path:
    """Write a word in the form that diffusers, A1111 and ComfyUI read.

    Args:
        folder: Of the file, whose stem is the word without brackets.
        word: The key.
        vectors: ``(n, D)``.
        base: What it was learned on, for the file's metadata.
    """
    file = folder / f"{stem(word)}.safetensors"
    told = {"format": "pt", "base_model": base, "vectors": str(len(vectors)), "width": str(vectors.shape[1])}
    tensor = vectors.detach().to("cpu", torch.float32, copy=True).contiguous()
    write_whole(file, save({word: tensor}, metadata=told))
    return file


def read_embedding(path: str | Path) -> tuple[str, Tensor]:
    """Read a one-key textual inversion: its word, and vectors ``(n, D)`` float32.

    Raises:
        SemeiaError: A pickle, a file with several tensors (SDXL's have two), or one that holds no finite vectors.
    """
    path = Path(path)
    refuse_pickles(path)
    tensors = read_tensors(path)
    if len(tensors) != 1:
        names = ", ".join(sorted(tensors)[:4]) or "none"
        raise SemeiaError(f"{path}: expected an embedding of one tensor, found {len(tensors)} ({names})")
    word, vectors = next(iter(tensors.items()))
    vectors = vectors[None] if vectors.ndim == 1 else vectors
    if vectors.ndim != 2 or not _WIDTHS[0] <= vectors.shape[1] <= _WIDTHS[1] or not 1 <= len(vectors) <= 75:
        raise SemeiaError(f"{path}: expected vectors (n, width), found a tensor of shape {tuple(vectors.shape)}")
    if not vectors.is_floating_point() or not vectors.isfinite().all():
        raise SemeiaError(f"{path}: expected finite numbers, found {vectors.dtype} with others; export it again")
    # A1111's files are named by their triggers alone.
    return (word if word.startswith("<") else f"<{path.stem.lower()}>"), vectors.float()


def refuse_pickles(path: Path) -> None:
    """Refuse a file whose name or first bytes say that it is a pickle.

    Raises:
        SemeiaError: It is one.
    """
    head = b""
    if path.is_file():
        with path.open("rb") as stream:
            head = stream.read(4)
    if path.suffix.lower() in _PICKLES or head[:2] == b"\x80\x02" or head == b"PK\x03\x04":
        raise SemeiaError(
            f"{path}: a pickle, which can run code when it is opened; expected .safetensors (convert it yourself)"
        )


# -- tuned weights


def custom_diffusion(processors: Mapping[str, Any], tuned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """K and V as diffusers' custom-diffusion weights.

    Args:
        processors: ``unet.attn_processors``; diffusers wants an entry for each of them, an empty one for the others.
        tuned: ``....attn2.to_k.weight`` and ``....attn2.to_v.weight``.
    """
    state: dict[str, Tensor] = {}
    for name in processors:
        layer = name.removesuffix(".processor")
        if f"{layer}.to_k.weight" in tuned:
            for which in "kv":
                state[f"{name}.to_{which}_custom_diffusion.weight"] = tuned[f"{layer}.to_{which}.weight"]
        else:
            state[name] = torch.zeros(0)
    return state


def from_custom_diffusion(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that ``custom_diffusion`` was given."""
    return {
        re.sub(r"\.processor\.to_(k|v)_custom_diffusion\.weight$", r".to_\1.weight", name): tensor
        for name, tensor in state.items()
        if tensor.numel()
    }


def lora(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The change of linear maps as a LoRA of full rank, in the keys that diffusers, A1111 and ComfyUI read.

    One factor is the change itself and the other the identity, so that nothing is lost: up * down = after - before.
    A LoRA of fewer ranks would be an approximation and is not offered. All maps get the largest rank, filled up with
    zeros: diffusers 0.42 scales maps of other ranks wrongly.

    Args:
        before: ``....attn2.to_k.weight`` and the like ``(O, I)``, of the base.
        after: The same names.
    """
    state: dict[str, Tensor] = {}
    rank = max((min(tensor.shape) for tensor in after.values()), default=0)
    for name, tensor in after.items():
        change = (tensor.float() - before[name].float()).cpu()
        out, into = change.shape
        down, up = torch.zeros(rank, into), torch.zeros(out, rank)
        if out <= into:
            down[:out], up[:, :out] = change, torch.eye(out)
        else:
            down[:into], up[:, :into] = torch.eye(into), change
        key = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        state |= {
            f"{key}.lora_down.weight": down,
            f"{key}.lora_up.weight": up,
            f"{key}.alpha": torch.tensor(float(rank)),
        }
    return state


def kv_names(unet: Any) -> list[str]:
    """Names of the cross-attention K and V weights of a U-Net."""
    return [name for name, _ in unet.named_parameters() if _KV.fullmatch(name)]


def apply_tuned(unet: Any, tuned: Mapping[str, Tensor], *, source: str) -> None:
    """Put tuned weights in their places.

    Raises:
        SemeiaError: The U-Net has other places or other shapes; it is unchanged.
    """
    own = unet.state_dict()
    for name, tensor in tuned.items():
        found = "no such place" if name not in own else f"{tuple(own[name].shape)}"
        if name not in own or own[name].shape != tensor.shape:
            raise SemeiaError(f"{source}: {name} has shape {tuple(tensor.shape)}, this base has {found}; use the base "
                              "that the concept was learned on")  # fmt: skip
    unet.load_state_dict(dict(tuned), strict=False)


# -- the folder


def save_concept(
    folder: str | Path, concept: Concept, *, processors: Mapping[str, Any], before: Mapping[str, Tensor], card: str
) -> None:
    """Write a concept; embeddings of an earlier one in the same folder are removed.

    Args:
        folder: Made if it is not there.
        concept: What was learned.
        processors: ``unet.attn_processors`` of the base.
        before: The base's tensors of the names in ``concept.tuned``, where K and V were tuned.
        card: ``card.md``.

    Raises:
        SemeiaError: The folder cannot be written.
    """
    folder = writable_folder(folder)
    (folder / INDEX).unlink(missing_ok=True)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    for word, vectors in concept.words.items():
        write_embedding(folder, word, vectors, base=concept.base)
    files = {
        "none": {},
        "kv": {CUSTOM: lambda: custom_diffusion(processors, concept.tuned), LORA: lambda: lora(before, concept.tuned)},
        "unet": {UNET: lambda: concept.tuned},
    }[concept.kind]
    for name, made in files.items():
        tensors = {key: t.detach().to("cpu", copy=True).contiguous() for key, t in made().items()}
        write_whole(folder / name, save(tensors, metadata={"format": "pt", "base_model": concept.base}))
    write_whole(folder / "card.md", card.encode())
    told = {
        "semeia": semeia.__version__, "version": 1, "trigger": concept.trigger, "class": concept.class_word,
        "words": list(concept.words), "width": concept.width, "base": concept.base, "fingerprint": concept.fingerprint,
        "side": concept.side, "photos": list(concept.photos), "attributes": list(concept.attributes),
        "attribute_words": concept.attribute_words, "tuned": concept.kind,
    }  # fmt: skip
    write_whole(folder / INDEX, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())


def read_concept(path: str | Path) -> Concept:
    """Read a concept: a folder of ``save_concept``, a run that holds one, or a one-key embedding of any tool.

    Raises:
        SemeiaError: There is none, or a file is missing, damaged or a pickle.
    """
    path = Path(path)
    if path.is_dir():
        folder = path if (path / INDEX).exists() or not (path / "checkpoint" / INDEX).exists() else path / "checkpoint"
        return _from_folder(folder)
    word, vectors = read_embedding(path)
    return Concept(word, "", {word: vectors}, base="")


def _from_folder(folder: Path) -> Concept:
    file = folder / INDEX
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        trigger, kind, names = told["trigger"], told["tuned"], told["words"]
        known = Concept(
            trigger=str(trigger), class_word=str(told["class"]), words={}, base=str(told["base"]),
            fingerprint=str(told["fingerprint"]), side=int(told["side"]), photos=tuple(map(str, told["photos"])),
            attributes=tuple(map(str, told["attributes"])), attribute_words=bool(told["attribute_words"]), kind=kind,
        )  # fmt: skip
        if trigger not in names or kind not in ("none", "kv", "unet") or any("/" in stem(str(n)) for n in names):
            raise ValueError("its values do not fit one another")
    except OSError as error:
        raise SemeiaError(f"{folder}: expected a learned concept, {INDEX} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SemeiaError(f"{file}: not as semeia concept learn writes it ({error}); copy the folder again") from error
    words: dict[str, Tensor] = {}
    for name in names:
        word, vectors = read_embedding(folder / f"{stem(name)}.safetensors")
        if word != name or (words and vectors.shape[1] != words[next(iter(words))].shape[1]):
            raise SemeiaError(f"{folder / stem(name)}.safetensors: expected the word {name}, as wide as the others, "
                              f"found {word} of width {vectors.shape[1]}")  # fmt: skip
        words[name] = vectors
    tuned: dict[str, Tensor] = {}
    if kind == "kv":
        tuned = from_custom_diffusion(read_tensors(folder / CUSTOM))
    elif kind == "unet":
        tuned = read_tensors(folder / UNET)
    return Concept(**{**known.__dict__, "words": words, "tuned": tuned})
