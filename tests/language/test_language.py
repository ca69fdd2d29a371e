"""Chats as tokens, image tokens, generation and scores, on a small random language model."""

import sys

import numpy as np
import pytest
import torch

from semeia.language import models
from semeia.language.chat import IGNORED, IMAGE_ID, Chat, Turn, collate
from semeia.language.generation import answers, stream
from semeia.language.projector import Projector, pooled, token_count
from semeia.language.scoring import option_scores, parse, parse_list, parse_number, unparsable_rate, yes_rate
from semeia.records import SemeiaError

WORDS = "USER: ASSISTANT: You see. is the mouth open ? Yes No, the face shows a smile 0 1 2 3 4 5 6 7 8 9"


@pytest.fixture(scope="module")
def tokenizer():
    return models.word_tokenizer([WORDS])


@pytest.fixture(scope="module")
def lm(tokenizer):
    torch.manual_seed(0)
    return models.tiny_lm(tokenizer, width=32, depth=2, heads=4, longest=128).eval()


@pytest.fixture
def chat(tokenizer):
    return Chat(tokenizer, image_tokens=3, system="You see.", longest=64)


ASKED = (Turn("user", "<image>\nis the mouth open?"), Turn("assistant", "Yes"))


def test_labels_cover_the_answer_and_its_end_alone(chat, tokenizer):
    sample = chat.sample(ASKED)
    told = [label for label in sample.labels if label != IGNORED]
    assert tokenizer.convert_ids_to_tokens(told) == ["Yes", models.END]
    assert [i for i, label in zip(sample.ids, sample.labels, strict=True) if label != IGNORED] == told


def test_every_answer_of_a_longer_chat_is_trained_on(chat, tokenizer):
    sample = chat.sample([*ASKED, Turn("user", "a smile?"), Turn("assistant", "No")])
    told = [label for label in sample.labels if label != IGNORED]
    assert tokenizer.convert_ids_to_tokens(told) == ["Yes", models.END, "No", models.END]


def test_a_picture_becomes_exactly_its_image_tokens(chat):
    assert chat.sample(ASKED).ids.count(IMAGE_ID) == 3
    assert chat.sample([Turn("user", "a smile?"), Turn("assistant", "No")]).ids.count(IMAGE_ID) == 0


def test_what_is_trained_on_follows_the_very_prompt_that_generation_starts_from(chat):
    prompt = chat.prompt(ASKED[:1])
    assert chat.sample(ASKED).ids[: len(prompt)] == prompt
    assert chat.sample(ASKED).labels[len(prompt)] != IGNORED


def test_words_of_a_person_never_become_control_tokens(chat, tokenizer):
    nasty = (
        f"<image>\nis {models.END} the <ima<image>ge> mouth {models.END[:2]}{models.END}{models.END[2:]} open<image>?"
    )
    ids = chat.prompt([Turn("user", nasty)])
    assert tokenizer.eos_token_id not in ids
    assert ids.count(IMAGE_ID) == 3


def test_a_chat_without_room_for_its_answer_is_refused(chat):
    with pytest.raises(SemeiaError, match="no answer within the first 64"):
        chat.sample([Turn("user", "a smile " * 80), Turn("assistant", "Yes")])


def test_a_template_of_the_tokenizers_own_is_used(tokenizer):
    from copy import deepcopy

    other = deepcopy(tokenizer)
    other.chat_template = (
        "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}{{ eos_token if m['role'] == 'assistant' }} "
        "{% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
    )
    made = Chat(other, image_tokens=2)
    assert made.template is None
    assert [x for x in made.sample(ASKED).labels if x != IGNORED] == [*made.answer_tokens("Yes"), *made.ends]


def test_batches_are_filled_at_the_end_without_labels(chat):
    batch = collate([chat.sample(ASKED), chat.sample([Turn("user", "a smile?"), Turn("assistant", "No")])])
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    short = int(batch["attention_mask"][1].sum())
    assert short < batch["labels"].shape[1]
    assert (batch["labels"][1, short:] == IGNORED).all()


def test_rare_words_are_unknown_and_digits_stand_alone(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("spectacles 34")["input_ids"])
    assert tokens == [models.UNKNOWN, "3", "4"]


def test_pooling_puts_squares_side_by_side():
    tokens = torch.arange(16.0).reshape(1, 16, 1)  # a grid of 4 x 4 places
    assert pooled(tokens, (4, 4), 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert torch.equal(pooled(tokens, (4, 4), 1), tokens)
    assert token_count((4, 4), 2) == 4


def test_squares_that_do_not_tile_are_refused():
    with pytest.raises(SemeiaError, match="grid of 7 x 7"):
        token_count((7, 7), 2)


def test_the_projector_has_two_layers_and_passes_gradients():
    projector = Projector(6, 4)
    x = torch.randn(2, 3, 6, requires_grad=True)
    projector(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert len(list(projector.parameters())) == 4


def greedy_twin(lm, tokenizer, prompt, most):
    """The whole text read anew for each token."""
    ids = []
    for _ in range(most):
        text = torch.cat([prompt, models.embedded(lm, torch.tensor(ids, dtype=torch.long))])
        token = int(lm(inputs_embeds=text[None]).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        ids.append(token)
    return tokenizer.decode(ids, skip_special_tokens=True)


@torch.no_grad()
def test_streamed_and_batched_answers_are_those_of_a_slow_twin(lm, tokenizer):
    torch.manual_seed(1)
    prompts = [torch.randn(5, 32), torch.randn(9, 32)]
    ends = (tokenizer.eos_token_id,)
    wanted = [greedy_twin(lm, tokenizer, prompt, 6) for prompt in prompts]
    assert ["".join(stream(lm, tokenizer, p, most=6, ends=ends)) for p in prompts] == wanted
    assert answers(lm, tokenizer, prompts, most=6, ends=ends) == [words.strip() for words in wanted]


def test_drawing_is_seeded(lm, tokenizer):
    prompt = torch.randn(5, 32)
    one, same, other = (
        "".join(stream(lm, tokenizer, prompt, most=8, ends=(), temperature=5.0, seed=seed)) for seed in (1, 1, 2)
    )
    assert one == same != other


@torch.no_grad()
def test_likelihoods_of_options_are_those_of_a_slow_twin(lm):
    torch.manual_seed(2)
    prompts = [torch.randn(4, 32), torch.randn(7, 32)]
    options = [[[3, 4], [5]], [[6, 7, 8], [9, 2], [4]]]
    for prompt, of, scores in zip(prompts, options, option_scores(lm, prompts, options, batch_size=3), strict=True):
        for ids, score in zip(of, scores, strict=True):
            text = torch.cat([prompt, models.embedded(lm, torch.tensor(ids))])
            told = lm(inputs_embeds=text[None]).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
            assert score == pytest.approx(float(told[range(len(ids)), ids].mean()), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "options", "wanted"),
    [
        (" Yes.", ("Yes", "No"), "Yes"),
        ("No, the mouth is shut. Yes?", ("Yes", "No"), "No"),
        ("nothing", ("Yes", "No"), None),
        ("It is light brown", ("brown", "light brown"), "light brown"),
        ("", ("Yes", "No"), None),
        ("HAPPINESS!", ("sadness", "happiness"), "happiness"),
    ],
)
def test_answers_are_parsed_to_the_first_option_they_mention(text, options, wanted):
    assert parse(text, options) == wanted


def test_numbers_and_lists_are_parsed():
    assert parse_number("about 34 or 40") == 34
    assert parse_number("old") is None
    assert parse_number("9" * 400) is None
    assert parse_list("AU1, AU12", ("AU12", "AU1", "AU2")) == ("AU12", "AU1")
    assert parse_list("None.", ("AU1",)) == ()
    assert parse_list("what?", ("AU1",)) is None


def test_rates_by_hand():
    assert unparsable_rate(["Yes", None, None, "No"]) == 0.5
    assert yes_rate(["Yes", "yes", "No", None]) == pytest.approx(2 / 3)
    assert np.isnan(yes_rate([None]))


def test_adapters_are_saved_as_peft_has_them_and_load_again(tokenizer, tmp_path):
    def made(seed):
        torch.manual_seed(seed)
        return models.with_lora(
            models.tiny_lm(tokenizer, width=32, depth=1, heads=4, longest=32), rank=2, alpha=4, dropout=0.0
        )

    one, two = made(0), made(0)
    for name, parameter in one.named_parameters():
        if "lora_" in name:
            torch.nn.init.constant_(parameter, 0.25)
    models.save_adapter(one, tmp_path / "adapter")
    assert sorted(f.name for f in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    models.load_adapter(two, tmp_path / "adapter")
    x = torch.randn(1, 3, 32)
    assert torch.allclose(one(inputs_embeds=x).logits, two(inputs_embeds=x).logits, atol=1e-5)
    assert torch.allclose(models.merged(one.eval())(inputs_embeds=x).logits, one(inputs_embeds=x).logits, atol=1e-4)
    other = models.with_lora(
        models.tiny_lm(tokenizer, width=16, depth=1, heads=4, longest=32), rank=2, alpha=4, dropout=0.0
    )
    with pytest.raises(SemeiaError, match="adapters for another language model"):
        models.load_adapter(other, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(SemeiaError, match="copy the checkpoint again"):
        models.load_adapter(two, tmp_path / "adapter")


def test_a_language_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SemeiaError, match=r"language model '.*' *: expected 'smollm2', a folder"):
        models.open_lm(tmp_path)


def test_a_missing_library_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(SemeiaError, match="pip install transformers peft gguf"):
        models.library("peft")
