"""Face-MLLM on a tiny random language model: stages, labels, learning, and what is saved."""

import pytest
import torch

from semeia.language import models
from semeia.language.chat import IMAGE_ID, Turn, collate
from semeia.recipes.face_mae import load_prior
from semeia.records import SemeiaError
from semeia.systems.face_mllm.model import STAGES, Config, build
from semeia.train.optimisers import adamw

SMALL = {"tiny_width": 32, "tiny_depth": 1, "tiny_heads": 2, "longest": 96, "backbone_width": 48}
WORDS = "USER: ASSISTANT: You describe the face in picture. never name a person which ? red green blue grey Yes No"
COLOURS = ("red", "green", "blue", "grey")


def made(**changes):
    torch.manual_seed(0)
    config = Config(**{"lm": "tiny", **SMALL, **changes})
    tokenizer = models.word_tokenizer([WORDS])
    lm = models.tiny_lm(tokenizer, width=32, depth=1, heads=2, longest=96)
    return build(config, lm=lm, tokenizer=tokenizer)


def chats():
    return [(Turn("user", "<image>\nwhich?"), Turn("assistant", word)) for word in COLOURS * 2]


def pictures():
    values = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.5, 0.5, 0.5]] * 2)
    noise = 0.05 * torch.randn(8, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    return (values[:, :, None, None] + noise).clamp(0, 1)


def batch(model):
    return {"image": pictures(), **collate([model.chat.sample(turns) for turns in chats()])}


@pytest.fixture(scope="module")
def model():
    return made().eval()


def test_each_stage_trains_what_the_table_of_the_spec_says():
    for lm in ("tiny", "a name on the hub"):
        model = made(lm=lm)
        kinds = {}
        for stage in STAGES:
            if lm != "tiny" and stage == "language":
                kinds[stage] = set()
                continue
            model.begin(stage)
            names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
            assert names == model.trainable(stage)
            kinds[stage] = {".".join(name.split(".")[:2]) for name in names if name.startswith("sight")} | {
                "adapters" if "lora_" in name else "lm" for name in names if name.startswith("lm.")
            }
        saying = "lm" if lm == "tiny" else "adapters"
        assert kinds["align"] == {"sight.projector"}
        assert kinds["basic"] == kinds["special"] == {"sight.projector", saying}
        assert kinds["language"] == ({"lm"} if lm == "tiny" else set())


def test_a_step_leaves_frozen_weights_bit_for_bit():
    model = made(lm="a name on the hub")
    for stage in ("align", "special"):
        model.begin(stage)
        before, state = model.frozen_digest(), {n: p.clone() for n, p in model.named_parameters() if p.requires_grad}
        (optimizer,) = adamw(model, lr=1e-2, weight_decay=0.0).values()
        model.train()(batch(model))["loss"].backward()
        optimizer.step()
        model.zero_grad()
        assert model.frozen_digest() == before
        assert any(not torch.equal(p, state[n]) for n, p in model.named_parameters() if p.requires_grad)


def test_the_projector_moves_more_slowly_once_it_is_aligned(model):
    model.begin("align")
    assert [group["lr_scale"] for group in model.groups()] == [1.0]
    model.begin("special")
    assert [group.get("lr_scale", 1.0) for group in model.groups()] == [1.0, 0.1]


def test_image_tokens_stand_in_the_places_of_the_picture(model):
    ids = batch(model)["input_ids"]
    vectors = model.embed(ids, pictures())
    assert ((ids == IMAGE_ID).sum(1) == model.sight.tokens).all()
    assert torch.allclose(vectors[ids == IMAGE_ID], model.sight(pictures()).flatten(0, 1), atol=1e-5)
    words = models.embedded(model.lm, ids)
    assert torch.equal(vectors[ids != IMAGE_ID], words[ids != IMAGE_ID])


def test_chats_with_and_without_a_picture_share_a_batch(model):
    turns = [chats()[0], (Turn("user", "which?"), Turn("assistant", "red")), chats()[2]]
    mixed = {"image": pictures()[:3], **collate([model.chat.sample(each) for each in turns])}
    vectors = model.embed(mixed["input_ids"], mixed["image"])
    assert torch.allclose(vectors[2], model.embed(mixed["input_ids"][2:], mixed["image"][2:])[0], atol=1e-5)
    assert torch.isfinite(model(mixed)["loss"])


def test_the_loss_is_that_of_answers_alone_by_a_slow_twin(model):
    each = batch(model)
    logits = model.lm(
        inputs_embeds=model.embed(each["input_ids"], each["image"]), attention_mask=each["attention_mask"]
    ).logits.log_softmax(-1)
    told = [
        -logits[row, place - 1, label]
        for row, labels in enumerate(each["labels"].tolist())
        for place, label in enumerate(labels)
        if label >= 0
    ]
    assert model(each)["loss"].item() == pytest.approx(torch.stack(told).mean().item(), abs=1e-4)


def test_eight_pictures_are_learned_and_what_is_said_depends_on_the_picture():
    model = made(projector_rate=1.0, backbone_width=192)
    load_prior(model.sight.backbone, "face_mae")  # random features are the same for all pictures
    model.begin("special")
    (optimizer,) = adamw(model, lr=3e-3, weight_decay=0.0).values()
    each = batch(model)
    for _ in range(100):
        loss = model.train()(each)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.zero_grad()
    assert loss.item() < 0.1
    model.eval()
    asked = [turns[:1] for turns in chats()]
    assert model.say(pictures(), asked, most=3) == list(COLOURS * 2)
    scores = model.choose(pictures(), asked, [COLOURS] * 8)
    assert [COLOURS[int(score.argmax())] for score in scores] == list(COLOURS * 2)
    assert "".join(model.stream(pictures()[2], asked[2], most=3)) == "blue"


def test_what_others_trained_is_not_saved_and_not_asked_for():
    model = made(lm="a name on the hub")
    names = model.state_dict().keys()
    assert any("lora_" in name for name in names)
    assert all("lora_" in name for name in names if name.startswith("lm."))
    assert not model.load_state_dict(model.state_dict()).missing_keys
    with pytest.raises(RuntimeError, match=r"sight\.projector"):
        model.load_state_dict({n: t for n, t in model.state_dict().items() if "projector" not in n})
    assert any(name.startswith("lm.") for name in made().state_dict())


def test_the_encoder_stays_in_evaluation_mode():
    assert not made().train().sight.backbone.training


def test_similarity_is_a_cosine_for_each_text(model):
    found = model.similarity(pictures()[:2], [("red", "blue"), ("red",)])
    assert [len(each) for each in found] == [2, 1]
    assert all(abs(value) <= 1 + 1e-5 for each in found for value in each)


@pytest.mark.parametrize(
    ("changes", "words"), [({"pool": 2}, "tile"), ({"tap": -9}, "tap is -9"), ({"longest": 50}, "longest is 50")]
)
def test_values_that_do_not_fit_are_named(changes, words):
    with pytest.raises(SemeiaError, match=words):
        made(**changes)
