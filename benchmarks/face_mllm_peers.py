"""Whether others open what this library writes: TRL its messages, transformers and peft its language model.

    python benchmarks/face_mllm_peers.py trl shards/trl_questions.parquet --python trl/bin/python
    python benchmarks/face_mllm_peers.py transformers runs/face_mllm/checkpoint

Each opens the files in a process of its own that never imports this library, and says so.

``trl`` takes messages as ``semeia annotate`` writes them, .parquet, or .jsonl with the paths of pictures: datasets
opens them, TRL's collator makes a batch of them, and TRL's ``SFTTrainer`` takes one step on a vision-language model of
a few thousand random weights. ``--python`` names an interpreter that has trl, where this one has not.

``transformers`` asks a checkpoint questions, with random pictures and without any. The picture becomes image tokens
here, by encoder and projector, which transformers does not know; from there on the other process answers alone. Answers
must be the same letter by letter.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from semeia.language.chat import IMAGE, Turn
from semeia.language.models import SMOLLM2, TINY, smollm2_folder
from semeia.recipes import face_mllm as recipe
from semeia.records import SemeiaError

QUESTIONS = (
    "Is the mouth open?",
    "Does this person wear a hat?",
    "How old does this person look?",
    "Describe the face.",
)
MOST = 24
"""New tokens of an answer."""

WITH_TRL = """
import sys
from pathlib import Path
import torch, transformers, trl
from datasets import Image, List, load_dataset

path, rows = sys.argv[1], int(sys.argv[2])
plain = not path.endswith(".parquet")
rows_of = load_dataset("json" if plain else "parquet", data_files=path, split="train")
found = len(rows_of)
if "images" not in rows_of.column_names:
    raise SystemExit(f"{path}: expected columns images and messages, found {', '.join(rows_of.column_names)}")
rows_of = rows_of.select(range(min(rows, found)))
if plain:  # a path is meant from the file on
    rows_of = rows_of.map(lambda row: {"images": [str(Path(path).parent / image) for image in row["images"]]})
rows_of = rows_of.cast_column("images", List(Image()))
row = rows_of[0]
print(f"datasets: {found:,} rows; the first has {len(row['messages'])} messages and a picture of",
      row["images"][0].size)

def texts(row):
    for message in row["messages"]:
        content = message["content"]
        yield from ([content] if isinstance(content, str) else [part["text"] or "" for part in content])

from tokenizers import Tokenizer, models, pre_tokenizers
split = pre_tokenizers.Whitespace()
words = {w for row in rows_of.remove_columns("images") for text in texts(row) for w, _ in split.pre_tokenize_str(text)}
names = ["<unk>", "<pad>", "</s>", "<image>", *sorted(words | {"USER", "ASSISTANT", ":"})]
made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(names)}, unk_token="<unk>"))
made.pre_tokenizer = split
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", eos_token="</s>",
    extra_special_tokens={"image_token": "<image>"})
template = (
    "{% for message in messages %}{{ message['role'] | upper }} : {% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image> "
    "{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endif %}{% if message['role'] == 'assistant' %}</s> "
    "{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT : {% endif %}")
side, patch = 28, 14
pictures = transformers.CLIPImageProcessor(
    size={"shortest_edge": side}, crop_size={"height": side, "width": side})
processor = transformers.LlavaProcessor(
    image_processor=pictures, tokenizer=tokenizer, patch_size=patch, vision_feature_select_strategy="default",
    num_additional_image_tokens=1, chat_template=template)
eye = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=side,
           patch_size=patch)
tongue = dict(vocab_size=len(names), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
              num_key_value_heads=2, pad_token_id=1, eos_token_id=2, bos_token_id=None)
model = transformers.LlavaForConditionalGeneration(transformers.LlavaConfig(
    vision_config=transformers.CLIPVisionConfig(**eye), text_config=transformers.LlamaConfig(**tongue),
    image_token_index=3, image_seq_length=(side // patch) ** 2))
how = trl.SFTConfig(output_dir=sys.argv[3], max_length=None, max_steps=1, per_device_train_batch_size=2, report_to=[],
                    save_strategy="no", use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True)
trainer = trl.SFTTrainer(model=model, args=how, train_dataset=rows_of, processing_class=processor)
batch = next(iter(trainer.get_train_dataloader()))
print(f"trl {trl.__version__}: {type(trainer.data_collator).__name__} makes",
      ", ".join(f"{name} {tuple(value.shape)}" for name, value in batch.items()))
print(f"SFTTrainer: one step, loss {trainer.train().training_loss:.3f}")
print("semeia imported there:", any(name.split(".")[0] == "semeia" for name in sys.modules))
"""

WITH_TRANSFORMERS = """
import json, sys
import torch, transformers
from safetensors.torch import load_file

asked = json.load(open(sys.argv[1]))
vectors = load_file(sys.argv[2])
torch.set_num_threads(asked["threads"])
tokenizer = transformers.AutoTokenizer.from_pretrained(asked["tokenizer"])
lm = transformers.AutoModelForCausalLM.from_pretrained(asked["lm"], dtype=getattr(torch, asked["dtype"]))
if asked["adapter"]:
    import peft
    lm = peft.PeftModel.from_pretrained(lm, asked["adapter"])
lm.eval()
told, logits = [], []
for number in range(len(vectors)):
    start = vectors[str(number)][None].to(lm.dtype)
    mask = torch.ones(start.shape[:2], dtype=torch.long)
    with torch.inference_mode():
        logits.append(lm(inputs_embeds=start, attention_mask=mask).logits[0, -1].float().tolist())
        said = lm.generate(inputs_embeds=start, attention_mask=mask, max_new_tokens=asked["most"], do_sample=False,
                           eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    told.append(tokenizer.decode(said[0], skip_special_tokens=True).strip())
count = sum(p.numel() for p in lm.parameters())
json.dump({"told": told, "logits": logits, "class": type(lm).__name__, "parameters": count,
           "version": transformers.__version__,
           "semeia": any(name.split(".")[0] == "semeia" for name in sys.modules)}, open(sys.argv[3], "w"))
"""


def clean(python: str, code: str, *words: str) -> str:
    """What some code prints in a process of its own, outside of this library's folders.

    Raises:
        SemeiaError: It failed.
    """
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run([python, "-c", code, *words], capture_output=True, text=True, check=False, cwd=place)
    if done.returncode:
        raise SemeiaError(f"{python}: the other process failed:\n{done.stderr[-2000:]}")
    return done.stdout


def trl(args: argparse.Namespace) -> int:
    """Open messages by TRL."""
    with tempfile.TemporaryDirectory() as place:
        said = clean(args.python, WITH_TRL, str(args.messages.resolve()), str(args.rows), place)
    print(f"{args.messages.name}\n{said}", end="")
    return "semeia imported there: False" not in said


def questions() -> list[tuple[torch.Tensor | None, list[Turn]]]:
    """Each question without a picture, and with a random one."""
    chance = torch.Generator().manual_seed(0)
    asked: list[tuple[torch.Tensor | None, list[Turn]]] = [(None, [Turn("user", text)]) for text in QUESTIONS]
    for text in QUESTIONS:
        asked.append((torch.rand(1, 3, 8, 8, generator=chance), [Turn("user", f"{IMAGE}\n{text}")]))
    return asked


def over_transformers(args: argparse.Namespace) -> int:
    """Ask a checkpoint here and there."""
    model, name = recipe.load(args.folder)
    config, folder = model.config, args.folder.resolve()
    made = config.lm == TINY
    base = folder / recipe.LANGUAGE if made else (smollm2_folder() if config.lm == SMOLLM2 else config.lm)
    ways = {"lm": (base, None)} if made else {"adapter": (base, folder / recipe.ADAPTER)}
    if (folder / recipe.WHOLE).is_dir():
        ways["merged"] = (folder / recipe.WHOLE, None)
    here, first, vectors = [], [], {}
    for number, (small, turns) in enumerate(questions()):
        side = (config.image_size, config.image_size)
        image = None if small is None else torch.nn.functional.interpolate(small, side, mode="bicubic").clamp(0, 1)
        here.append(model.say(image, [turns], most=MOST)[0].strip())
        (start,) = model.prompts(image, [turns])
        with torch.inference_mode():
            first.append(model.lm(inputs_embeds=start[None]).logits[0, -1].float())
        vectors[str(number)] = start.float().contiguous()
    print(f"{name}: {len(here)} questions, half of them with a picture of {config.image_size} pixels\n")
    print(
        "| opened | as | transformers | parameters | semeia imported | equal answers | largest difference of a logit |"
    )
    print("|---|---|---|---|---|---|---|")
    alike = True
    for way, (lm, adapter) in ways.items():
        there = _there(args.python, vectors, lm=lm, adapter=adapter, dtype=config.lm_dtype)
        same = sum(one == two for one, two in zip(here, there["told"], strict=True))
        apart = max(float((a - torch.tensor(b)).abs().max()) for a, b in zip(first, there["logits"], strict=True))
        print(f"| {way} | {there['class']} | {there['version']} | {there['parameters']:,} | {there['semeia']} | "
              f"{same} of {len(here)} | {apart:.2g} |")  # fmt: skip
        alike &= same == len(here) and not there["semeia"]
    print(f"\nthe first answer: {here[0]!r}; the last: {here[-1]!r}")
    return not alike


def _there(python: str, vectors: dict[str, torch.Tensor], *, lm: Any, adapter: Any, dtype: str) -> dict[str, Any]:
    """Answers and logits of another process."""
    with tempfile.TemporaryDirectory() as place:
        asked, seen, told = (Path(place) / name for name in ("asked.json", "vectors.safetensors", "told.json"))
        how = {"lm": str(lm), "tokenizer": str(lm), "adapter": adapter and str(adapter), "dtype": dtype, "most": MOST,
               "threads": torch.get_num_threads()}  # fmt: skip
        asked.write_text(json.dumps(how), encoding="utf-8")
        save_file(vectors, seen)
        clean(python, WITH_TRANSFORMERS, str(asked), str(seen), str(told))
        answered: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    return answered


def main() -> int:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    messages = verbs.add_parser("trl", help="TRL opens messages and takes a step on them")
    messages.add_argument("messages", type=Path, metavar="FILE", help=".parquet or .jsonl")
    messages.add_argument("--rows", type=int, default=8, metavar="N", help="rows that TRL sees (default: %(default)s)")
    saved = verbs.add_parser("transformers", help="transformers answers as the checkpoint does")
    saved.add_argument("folder", type=Path, metavar="FOLDER", help="a checkpoint")
    for verb in (messages, saved):
        verb.add_argument("--python", default=sys.executable, metavar="FILE", help="interpreter of the other process")
    args = parser.parse_args()
    try:
        return {"trl": trl, "transformers": over_transformers}[args.verb](args)
    except SemeiaError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
