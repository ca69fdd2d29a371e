"""Opening causal language models of transformers, and the adapters of peft.

    smollm2     SmolLM2-135M-Instruct, the part ``language-model`` (``semeia parts``)
    tiny        a small Llama with a vocabulary of whole words, random: it is trained from scratch
    else        a folder that transformers saved, or a name on the Hugging Face hub

transformers and peft are imported here and nowhere else, when they are first needed.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stderr
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from semeia import parts
from semeia.records import SemeiaError

DType = Literal["float32", "bfloat16"]

SMOLLM2, TINY = "smollm2", "tiny"
PART = "language-model"

UNKNOWN, PAD, END = "<unk>", "<pad>", "</s>"
"""Special tokens of the vocabulary of whole words, with the numbers 0 to 2."""

MOST_WORDS = 4_000
"""Words of such a vocabulary; rarer ones are unknown."""


def library(name: Literal["transformers", "peft", "tokenizers", "gguf"]) -> ModuleType:
    """One of the libraries that this folder stands on, quiet.

    Raises:
        SemeiaError: It is not installed.
    """
    try:
        module = import_module(name)
    except ImportError as error:
        raise SemeiaError(
            f"language models need the package {name} ({error}); install it: pip install transformers peft gguf"
        ) from error
    if name == "transformers":
        module.utils.logging.set_verbosity_error()
        module.utils.logging.disable_progress_bar()
    return module


def open_lm(name: str | Path, *, dtype: DType = "float32") -> tuple[Any, Any]:
    """A causal language model in evaluation mode and its tokenizer.

    Args:
        name: ``smollm2``, a folder, or a name on the hub; of ``tiny`` see ``tiny_lm``.
        dtype: Of its weights.

    Raises:
        SemeiaError: It does not exist, is damaged, or cannot be had here.
    """
    transformers = library("transformers")
    source = smollm2_folder() if str(name) == SMOLLM2 else Path(name)
    where = str(source) if source.is_dir() else str(name)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where)
        lm = transformers.AutoModelForCausalLM.from_pretrained(where, dtype=getattr(torch, dtype))
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SemeiaError(
            f"language model {str(name)!r}: expected {SMOLLM2!r}, a folder that transformers saved, or a name on the "
            f"Hugging Face hub that can be reached or is in its cache; found none ({reason})"
        ) from error
    except Exception as error:  # safetensors and tokenizers raise classes of their own for damaged files
        raise SemeiaError(f"{where}: a language model that cannot be read ({error}); copy it again") from error
    return lm.eval(), tokenizer


def smollm2_folder() -> Path:
    """SmolLM2 as a folder of transformers beside its part in the cache, unpacked the first time.

    The part is a quantized GGUF file, which takes half a minute to open; the folder, in bf16, takes a second.

    Raises:
        SemeiaError: The part cannot be had, or the folder cannot be written.
    """
    part = parts.PARTS[PART]
    folder = part.path.parent / "transformers"
    if (folder / "config.json").is_file():
        return folder
    file = parts.fetch(PART)
    transformers, _ = library("transformers"), library("gguf")
    with redirect_stderr(io.StringIO()):  # a bar that cannot be told to be quiet
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
        opened = transformers.AutoModelForCausalLM.from_pretrained(
            str(file.parent), gguf_file=file.name, dtype=torch.bfloat16
        )
    # What was opened from GGUF says that it is quantized, which it no longer is, and refuses to be saved.
    plain = {key: value for key, value in opened.config.to_dict().items() if key != "quantization_config"}
    lm = transformers.LlamaForCausalLM(transformers.LlamaConfig(**plain)).to(torch.bfloat16)
    lm.load_state_dict(opened.state_dict())
    lm.tie_weights()
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".unpack-") as place:
            made = Path(place) / "transformers"
            tokenizer.save_pretrained(made)
            lm.save_pretrained(made)
            if not folder.exists():  # another process may have been faster
                made.replace(folder)
    except OSError as error:
        raise SemeiaError(f"{folder}: cannot be written ({error.strerror}); set SEMEIA_HOME to a folder that "
                          "can, with 300 MB free") from error  # fmt: skip
    return folder


def tiny_lm(tokenizer: Any, *, width: int, depth: int, heads: int, longest: int) -> Any:
    """A random Llama for a tokenizer.

    Args:
        tokenizer: Its vocabulary and end token count.
        width: Channels.
        depth: Blocks.
        heads: Of attention.
        longest: Most tokens of a text.
    """
    transformers = library("transformers")
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=depth,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=longest,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, use_cache=True,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


def word_tokenizer(texts: Iterable[str], *, most: int = MOST_WORDS) -> Any:
    """A tokenizer of whole words, signs and digits, made from texts: frequent words first, equals in their order.

    Args:
        texts: What will be said.
        most: Words at most.
    """
    tokenizers, transformers = library("tokenizers"), library("transformers")
    split = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Whitespace(), tokenizers.pre_tokenizers.Digits(individual_digits=True)]
    )
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in split.pre_tokenize_str(text))
    words = [UNKNOWN, PAD, END, *(word for word, _ in counts.most_common(most))]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=UNKNOWN))
    made.pre_tokenizer = split
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token=UNKNOWN, pad_token=PAD, eos_token=END)


def with_lora(lm: Any, *, rank: int, alpha: int, dropout: float) -> Any:
    """The model with low-rank adapters on all of its linear layers but the last; all else is frozen."""
    peft = library("peft")
    how = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(lm, how)


def save_adapter(lm: Any, folder: Path) -> None:
    """Write the adapters as a folder of peft, in fp16."""
    peft = library("peft")
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.half() for name, tensor in peft.get_peft_model_state_dict(lm).items()}
    lm.save_pretrained(str(folder), state_dict=state)
    # peft writes a page of advice; the card of the checkpoint says what there is to say.
    (folder / "README.md").unlink(missing_ok=True)


def load_adapter(lm: Any, folder: Path) -> None:
    """Fill the adapters of ``with_lora`` from a folder of peft.

    Raises:
        SemeiaError: It is missing, damaged, or made for another model.
    """
    peft = library("peft")
    try:
        state = peft.load_peft_weights(str(folder), device="cpu")
        wanted = peft.get_peft_model_state_dict(lm)
        wrong = sorted(wanted.keys() ^ state.keys()) + [
            name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape
        ]
        if wrong:
            raise SemeiaError(f"{folder}: adapters for another language model ({len(wrong)} tensors differ, such as "
                              f"{wrong[0]}); name the one that they were trained on")  # fmt: skip
        peft.set_peft_model_state_dict(lm, {name: tensor.float() for name, tensor in state.items()})
    except SemeiaError:
        raise
    except Exception as error:  # peft, safetensors and the hub raise classes of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SemeiaError(f"{folder}: expected a folder of peft with adapters, found none that can be read ({reason}); "
                          "copy the checkpoint again") from error  # fmt: skip


def merged(lm: Any) -> Any:
    """A copy of the model without peft, its adapters added to its weights: what transformers alone can open."""
    from copy import deepcopy

    return deepcopy(lm).merge_and_unload() if hasattr(lm, "merge_and_unload") else lm


def save_lm(lm: Any, tokenizer: Any, folder: Path) -> None:
    """Write model and tokenizer as a folder of transformers; what stood there is replaced.

    Raises:
        SemeiaError: It cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".lm-") as place:
            made = Path(place) / folder.name
            tokenizer.save_pretrained(made)
            if lm is not None:
                lm.save_pretrained(made)
            if folder.exists():
                shutil.rmtree(folder)
            made.replace(folder)
    except OSError as error:
        raise SemeiaError(f"{folder}: cannot be written ({error.strerror}); free some space, or name a folder that "
                          "you may write to") from error  # fmt: skip


def embeddings(lm: Any) -> nn.Embedding:
    """The table from tokens to vectors (V, D)."""
    table: nn.Embedding = lm.get_input_embeddings()
    return table


def embedded(lm: Any, ids: Tensor) -> Tensor:
    """Tokens (..., T) -> vectors (..., T, D); numbers below 0 give those of token 0."""
    vectors: Tensor = embeddings(lm)(ids.clamp(min=0))
    return vectors
