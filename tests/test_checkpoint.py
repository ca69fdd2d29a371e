"""A checkpoint is what was saved, or is refused in one line."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from semeia import checkpoint
from semeia.records import SemeiaError


@dataclass(frozen=True)
class Part:
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, str] = (0.5, "x")


@dataclass(frozen=True)
class Config:
    width: int = 3
    rate: float = 0.1
    deep: bool = False
    fusion: Literal["sum", "mean"] = "sum"
    limit: float | None = None
    part: Part = field(default_factory=Part)
    parts: tuple[Part, ...] = (Part(),)
    weights: dict[str, float] = field(default_factory=lambda: {"a": 1.0})


CONFIG = Config(width=4, limit=2.0, part=Part(sizes=(5,)), parts=(Part(), Part((7, 8))))


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))


@pytest.fixture
def folder(tmp_path):
    checkpoint.save(tmp_path / "net", system="qface", config=CONFIG, state=net().state_dict(), card="# Card\n")
    return tmp_path / "net"


def load(folder):
    config = checkpoint.load_config(folder, Config, system="qface")
    module = net()
    nn.init.zeros_(module[0].weight)
    checkpoint.load_state(folder, module)
    return config, module


def test_config_weights_and_card_come_back(folder):
    config, module = load(folder)
    assert config == CONFIG
    assert module[0].weight.dtype == torch.float32
    torch.testing.assert_close(module[0].weight, net()[0].weight, atol=1e-3, rtol=1e-3)
    assert (folder / "card.md").read_text() == "# Card\n"
    assert sorted(file.name for file in folder.iterdir()) == ["card.md", "config.json", "model.safetensors"]


def test_weights_are_stored_in_half_precision_unless_told_or_out_of_its_range(tmp_path):
    state = {"w": torch.tensor([0.1]), "n": torch.tensor(3), "large": torch.tensor([1e6])}
    for half, kinds in ((True, [torch.float16, torch.int64, torch.float32]), (False, None)):
        checkpoint.save(tmp_path, system="x", config=CONFIG, state=state, card="", half=half)
        found = load_file(tmp_path / "model.safetensors")
        assert [found[name].dtype for name in state] == (kinds or [t.dtype for t in state.values()])


def test_saving_again_replaces_the_model_and_leaves_other_files(folder):
    (folder / "notes.txt").write_text("mine")
    state = {name: torch.zeros_like(t) for name, t in net().state_dict().items()}
    checkpoint.save(folder, system="qface", config=replace(CONFIG, width=5), state=state, card="")
    config, module = load(folder)
    assert config.width == 5
    assert not module[0].weight.any()
    assert (folder / "notes.txt").read_text() == "mine"


def rewritten(folder, **changes):
    tensors = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in (tensors | changes).items() if t is not None}, folder / "model.safetensors")


@pytest.mark.parametrize(("changes", "words"), [
    ({"0.bias": None}, r"tensor '0\.bias' is missing, expected float32 of shape \(4,\)"),
    ({"2.bias": torch.zeros(4)}, r"tensor '2\.bias' \(float32 of shape \(4,\)\) is not part of this model"),
    ({"0.bias": torch.zeros(5)}, r"tensor '0\.bias': expected float32 of shape \(4,\), found float32 of shape \(5,\)"),
    ({"0.bias": torch.ones(4).half()}, r"not the weights that config\.json was saved with"),
])  # fmt: skip
def test_other_weights_are_refused(folder, changes, words):
    rewritten(folder, **changes)
    with pytest.raises(SemeiaError, match=f"model.safetensors: {words}"):
        load(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("length", [0, 100])
def test_a_truncated_file_is_named(folder, file, length):
    (folder / file).write_bytes((folder / file).read_bytes()[:length])
    with pytest.raises(SemeiaError, match=file):
        load(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(SemeiaError, match=f"{file}.*No such file"):
        load(folder)


def test_an_empty_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(SemeiaError, match="not a checkpoint folder"):
        load(tmp_path)


def test_a_checkpoint_of_another_system_is_refused(folder):
    with pytest.raises(SemeiaError, match=r"config\.json: expected a checkpoint of 'emma', found one of 'qface'"):
        checkpoint.load_config(folder, Config, system="emma")


def test_keys_that_are_not_there_are_named(folder):
    (folder / "config.json").write_text('{"system": "qface"}')
    with pytest.raises(SemeiaError, match="missing semeia, config, weights_sha256"):
        load(folder)


@pytest.mark.parametrize(("place", "value", "words"), [
    ("width", "wide", r"config\.width: expected int, found 'wide'"),
    ("width", True, r"config\.width: expected int, found True"),
    ("width", 1.5, r"config\.width: expected int, found 1\.5"),
    ("deep", 1, r"config\.deep: expected bool, found 1"),
    ("fusion", "max", r"config\.fusion: expected 'sum' or 'mean', found 'max'"),
    ("limit", "low", r"config\.limit: expected float or null, found 'low'"),
    ("part", {"sizes": [1]}, r"config\.part: missing pair; expected exactly sizes, pair"),
    ("part", {"sizes": [1], "pair": [1, "a"], "colour": 1}, r"config\.part: unknown colour"),
    ("part", {"sizes": [1, "b"], "pair": [1, "a"]}, r"config\.part\.sizes\[1\]: expected int, found 'b'"),
    ("part", {"sizes": [1], "pair": [1, "a", 2]}, r"config\.part\.pair: expected tuple\[float, str\], found"),
    ("part", 3, r"config\.part: expected Part, found 3"),
    ("weights", {"a": "heavy"}, r"config\.weights\['a'\]: expected float"),
    ("depth", 3, r"config: unknown depth; expected exactly width, rate"),
])  # fmt: skip
def test_a_wrong_value_is_named_with_its_place(folder, place, value, words):
    content = json.loads((folder / "config.json").read_text())
    content["config"][place] = value
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(SemeiaError, match=words):
        load(folder)


def test_whole_numbers_are_welcome_where_fractions_are_expected():
    value: Any = asdict(CONFIG) | {"rate": 1, "limit": None}
    config = checkpoint.from_plain(Config, value, where="x")
    assert config.rate == 1.0
    assert isinstance(config.rate, float)
    assert config.limit is None


def test_weights_that_are_not_bundled_are_refused_with_what_is():
    with pytest.raises(SemeiaError, match="weights 'nonsense': neither a checkpoint folder nor bundled"):
        checkpoint.bundled("nonsense")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SemeiaError, match="file/net: cannot be made a folder"):
        checkpoint.save(tmp_path / "file" / "net", system="x", config=CONFIG, state={}, card="")
