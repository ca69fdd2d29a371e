import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from semeia.diffusion import export
from semeia.diffusion.export import Concept, read_concept, read_embedding, save_concept, write_embedding
from semeia.diffusion.sampling import draw
from semeia.records import SemeiaError

from .tiny import base


def vector(seed=0, n=1, width=32):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def concept(pipeline, kind="kv"):
    names = {"none": [], "kv": export.kv_names(pipeline.unet), "unet": [n for n, _ in pipeline.unet.named_parameters()]}
    tuned = {n: pipeline.unet.get_parameter(n).detach() * 1.3 for n in names[kind]}
    words = {"<maya>": vector(0), "<maya-pose-1>": vector(1), "<maya-background-1>": vector(2)}
    return Concept("<maya>", "dog", words, base="tiny", photos=("a.png",), side=32,
                   attributes=("pose", "background"), kind=kind, tuned=tuned)  # fmt: skip


def saved(folder, pipeline, made):
    before = {n: pipeline.unet.get_parameter(n).detach() for n in made.tuned}
    save_concept(folder, made, processors=pipeline.unet.attn_processors, before=before, card="# maya\n")
    return folder


@pytest.fixture(scope="module")
def pipeline():
    return base()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pipeline):
    return saved(tmp_path_factory.mktemp("maya"), pipeline, concept(pipeline))


# -- the rules of other tools


def test_an_embedding_is_one_key_named_as_the_trigger_in_a_file_named_as_the_trigger(tmp_path):
    file = write_embedding(tmp_path, "<maya>", vector(n=2), base="tiny")
    assert file.name == "maya.safetensors"
    with safe_open(file, "pt") as opened:
        assert list(opened.keys()) == ["<maya>"]  # diffusers: the key is the token
        tensor = opened.get_tensor("<maya>")
        assert opened.metadata() == {"format": "pt", "base_model": "tiny", "vectors": "2", "width": "32"}
    assert tensor.dtype == torch.float32
    assert tensor.shape == (2, 32)


def a1111(file):
    """How A1111 reads an embedding: exactly one tensor, one dimension more where it has one; the name is the file's."""
    data = load_file(file)
    assert len(data.keys()) == 1, "embedding file has multiple terms in it"
    tensor = next(iter(data.values()))
    return file.stem, tensor.unsqueeze(0) if len(tensor.shape) == 1 else tensor


def comfyui(folder, name, width):
    """How ComfyUI reads ``embedding:name``: the first tensor of name.safetensors; another width is ignored."""
    tensor = next(iter(load_file(folder / f"{name}.safetensors").values()))
    return tensor if tensor.shape[-1] == width else None


def test_every_word_obeys_the_rules_of_a1111_and_comfyui(folder):
    for stem, seed in (("maya", 0), ("maya-pose-1", 1), ("maya-background-1", 2)):
        name, tensor = a1111(folder / f"{stem}.safetensors")
        assert name == stem
        assert torch.equal(tensor, vector(seed))
        assert torch.equal(comfyui(folder, stem, 32), vector(seed))
        assert comfyui(folder, stem, 768) is None


def test_there_are_no_pickles(folder):
    assert {f.suffix for f in folder.iterdir()} == {".safetensors", ".json", ".md"}


# -- diffusers, from a clean process

CLEAN = """
import sys
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
assert not any(name.startswith("semeia") for name in sys.modules)
base, out, *embeddings = sys.argv[1:]
pipeline = StableDiffusionPipeline.from_pretrained(base, use_safetensors=True, local_files_only=True)
for file in embeddings:
    pipeline.load_textual_inversion(file, weight_name=file)
image = pipeline(
    "photo of a <maya> dog with <maya-pose-1> pose", num_inference_steps=3, guidance_scale=6.0,
    generator=torch.Generator("cpu").manual_seed(5),
).images[0]
np.save(out, np.asarray(image))
"""


def test_an_embedding_draws_the_same_picture_in_diffusers_alone_bit_for_bit(tmp_path, pipeline):
    made = concept(pipeline, "none")
    saved(tmp_path / "maya", pipeline, made)
    pipeline.save_pretrained(tmp_path / "base")
    files = [str(tmp_path / "maya" / f"{stem}.safetensors") for stem in ("maya", "maya-pose-1")]
    run = [sys.executable, "-c", CLEAN, str(tmp_path / "base"), str(tmp_path / "theirs.npy"), *files]
    subprocess.run(run, check=True, capture_output=True)
    ours = draw(pipeline, "photo of a <maya> dog with <maya-pose-1> pose", seed=5, steps=3, words=made.words).image
    assert np.array_equal(ours, np.load(tmp_path / "theirs.npy"))


def told(pipeline):
    g = torch.Generator().manual_seed(0)
    latents, states = torch.randn(1, 4, 16, 16, generator=g), torch.randn(1, 77, 32, generator=g)
    with torch.no_grad():
        return pipeline.unet(latents, torch.tensor([300]), encoder_hidden_states=states).sample


def test_k_and_v_load_as_custom_diffusion_weights_and_as_a_lora(folder):
    ours, plain = base(), told(base())
    export.apply_tuned(ours.unet, read_concept(folder).tuned, source="maya")
    assert (told(ours) - plain).abs().max() > 1e-3
    custom = base()
    # Without ``_pipeline`` diffusers 0.42 reads the file and sets nothing.
    custom.unet.load_attn_procs(str(folder), weight_name=export.CUSTOM, _pipeline=custom)
    torch.testing.assert_close(told(custom), told(ours), atol=1e-5, rtol=1e-4)
    lora = base()
    lora.load_lora_weights(str(folder), weight_name=export.LORA)
    torch.testing.assert_close(told(lora), told(ours), atol=1e-5, rtol=1e-4)


def test_a_lora_is_the_change_itself():
    before = {"x.attn2.to_k.weight": torch.randn(3, 5), "x.attn2.to_v.weight": torch.randn(5, 4)}
    after = {name: tensor + torch.randn_like(tensor) for name, tensor in before.items()}
    made = export.lora(before, after)
    for which in "kv":
        key, name = f"lora_unet_x_attn2_to_{which}", f"x.attn2.to_{which}.weight"
        up, down, alpha = (made[f"{key}.{part}"] for part in ("lora_up.weight", "lora_down.weight", "alpha"))
        assert torch.equal(up @ down, after[name] - before[name])
        assert alpha == len(down) == 4


# -- our own reading


@pytest.mark.parametrize("kind", ["none", "kv", "unet"])
def test_a_concept_reads_back_as_it_was(tmp_path, pipeline, kind):
    made = concept(pipeline, kind)
    found = read_concept(saved(tmp_path, pipeline, made))
    assert {k: v for k, v in found.__dict__.items() if k not in ("words", "tuned")} == {
        k: v for k, v in made.__dict__.items() if k not in ("words", "tuned")
    }
    for part in ("words", "tuned"):
        ours, theirs = getattr(made, part), getattr(found, part)
        assert list(ours) == list(theirs) or set(ours) == set(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (tmp_path / export.LORA).exists() is (kind == "kv")


def test_a_run_stands_for_the_concept_in_it(tmp_path, pipeline):
    saved(tmp_path / "checkpoint", pipeline, concept(pipeline, "none"))
    assert read_concept(tmp_path).trigger == "<maya>"


def test_words_of_an_earlier_concept_do_not_stay(tmp_path, pipeline):
    saved(tmp_path, pipeline, concept(pipeline))
    made = Concept("<rex>", "dog", {"<rex>": vector()}, base="tiny")
    saved(tmp_path, pipeline, made)
    assert [f.name for f in tmp_path.glob("*.safetensors")] == ["rex.safetensors"]


def test_an_embedding_of_another_tool_is_a_concept(tmp_path):
    save_file({"emb_params": vector(n=3)}, tmp_path / "Cat-toy.safetensors")
    found = read_concept(tmp_path / "Cat-toy.safetensors")
    assert found.trigger == "<cat-toy>"
    assert found.words["<cat-toy>"].shape == (3, 32)
    save_file({"<x>": vector()[0]}, tmp_path / "x.safetensors")
    assert read_embedding(tmp_path / "x.safetensors")[1].shape == (1, 32)


def test_pickles_are_refused_by_name_and_by_what_they_hold(tmp_path):
    torch.save({"<x>": vector()}, tmp_path / "x.pt")
    (tmp_path / "y.safetensors").write_bytes((tmp_path / "x.pt").read_bytes())
    for name in ("x.pt", "y.safetensors"):
        with pytest.raises(SemeiaError, match="a pickle, which can run code"):
            read_concept(tmp_path / name)


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"clip_l": vector(), "clip_g": vector()}, "found 2"),
        ({"<x>": torch.zeros(2, 3, 4)}, "shape"),
        ({"<x>": torch.full((1, 32), float("nan"))}, "finite"),
        ({"<x>": torch.zeros(1, 32, dtype=torch.int64)}, "finite numbers"),
        ({}, "found 0"),
    ],
)
def test_what_is_no_embedding_is_refused(tmp_path, tensors, told):
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(SemeiaError, match=told):
        read_embedding(tmp_path / "x.safetensors")


def test_a_damaged_concept_is_named(tmp_path, pipeline):
    with pytest.raises(SemeiaError, match="expected a learned concept"):
        read_concept(tmp_path)
    with pytest.raises(SemeiaError, match="cannot be read"):
        read_concept(tmp_path / "none.safetensors")
    saved(tmp_path, pipeline, concept(pipeline))
    (tmp_path / "maya-pose-1.safetensors").write_bytes(b"torn")
    with pytest.raises(SemeiaError, match="not a complete safetensors file"):
        read_concept(tmp_path)
    write_embedding(tmp_path, "<maya-pose-1>", vector(width=16), base="x")
    with pytest.raises(SemeiaError, match="width 16"):
        read_concept(tmp_path)
    index = tmp_path / export.INDEX
    index.write_text(json.dumps({**json.loads(index.read_text()), "words": ["<../maya>"], "trigger": "<../maya>"}))
    with pytest.raises(SemeiaError, match="not as semeia concept learn writes it"):
        read_concept(tmp_path)


def test_tuned_weights_of_another_base_are_refused(pipeline):
    name = export.kv_names(pipeline.unet)[0]
    with pytest.raises(SemeiaError, match=r"maya: .*has shape \(8, 768\), this base has \(8, 32\)"):
        export.apply_tuned(pipeline.unet, {name: torch.zeros(8, 768)}, source="maya")
