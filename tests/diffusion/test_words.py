import pytest
import torch

from semeia.diffusion import words
from semeia.records import SemeiaError

from .tiny import base, tokenizer


@pytest.fixture(scope="module")
def pipeline():
    return base()


def test_a_trigger_is_a_word_in_brackets_that_the_base_does_not_know():
    assert words.trigger_word(" <Maya> ", tokenizer()) == "<maya>"
    assert words.stem("<maya-pose-1>") == "maya-pose-1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dog", "word of the base's vocabulary that would lose its meaning; write <dog>"),
        ("maya", "write <maya>"),
        ("<ma ya>", "write <ma-ya>"),
        ("", "in angle brackets"),
        ("<|endoftext|>", "write <endoftext>"),
    ],
)
def test_a_trigger_that_would_collide_is_refused(text, told):
    with pytest.raises(SemeiaError, match=told):
        words.trigger_word(text, tokenizer())


def test_a_trigger_that_was_added_before_is_refused():
    known = tokenizer()
    known.add_tokens(["<maya>"])
    with pytest.raises(SemeiaError, match="has this word already"):
        words.trigger_word("<maya>", known)


def test_a_bare_trigger_may_be_an_ordinary_word_which_can_be_told():
    assert words.ordinary("<dog>", tokenizer())
    assert not words.ordinary("<maya>", tokenizer())


def test_a_class_may_have_several_words_and_tokens():
    assert words.class_word("  golden   retriever ") == "golden retriever"
    for bad in ("", "<dog>", "x" * 61):
        with pytest.raises(SemeiaError, match="expected what the subject is"):
            words.class_word(bad)


def test_a_vocabulary_knows_more_and_its_tokenizer_is_left_alone():
    own = tokenizer()
    before = len(own)
    vocabulary = words.Vocabulary(own, ["<maya>", "<maya-pose>"])
    assert len(own) == before
    ids = vocabulary.encode(["photo of a <maya> dog", "a <maya-pose> pose"])
    assert ids.shape == (2, 77)
    assert (ids[0] == vocabulary.ids["<maya>"]).sum() == 1
    assert (ids == vocabulary.ids["<maya-pose>"]).sum(1).tolist() == [0, 1]
    assert vocabulary.beyond("a dog") == 0
    assert vocabulary.beyond("dog " * 80) == 5
    with pytest.raises(SemeiaError, match="already"):
        words.Vocabulary(own, ["dog</w>"])


def test_filled_words_are_what_rows_of_the_table_would_be(pipeline):
    encoder = base().text_encoder
    vocabulary = words.Vocabulary(pipeline.tokenizer, ["<maya>"])
    ids = vocabulary.encode(["photo of a <maya> dog", "a dog"])
    vector = torch.randn(32)
    with words.filled(pipeline.text_encoder, {vocabulary.ids["<maya>"]: vector[None]}):
        found = pipeline.text_encoder(ids)[0]
    encoder.resize_token_embeddings(len(vocabulary.tokenizer), mean_resizing=False)
    with torch.no_grad():
        encoder.get_input_embeddings().weight[vocabulary.ids["<maya>"]] = vector
    assert torch.equal(found, encoder(ids)[0])


def test_vectors_stay_where_they_should(pipeline):
    table = pipeline.text_encoder.get_input_embeddings()
    before = table.weight.detach().clone()
    vocabulary = words.Vocabulary(pipeline.tokenizer, ["<maya>"])
    ids = vocabulary.encode(["a <maya> dog", "a <maya> dog"])
    vectors = torch.randn(2, 32, requires_grad=True)
    with words.filled(pipeline.text_encoder, {vocabulary.ids["<maya>"]: vectors}):
        states = pipeline.text_encoder(ids)[0]
        rows = table(ids)
    assert torch.equal(rows[:, 2], vectors)
    assert torch.equal(rows[:, 3], before[ids[:, 3]])
    states[0].sum().backward()
    assert vectors.grad[0].abs().sum() > 0
    assert vectors.grad[1].abs().sum() == 0
    assert torch.equal(table.weight, before)
    assert not table._forward_hooks
    assert not table._forward_pre_hooks


def test_the_text_before_a_word_cannot_read_it(pipeline):
    vocabulary = words.Vocabulary(pipeline.tokenizer, ["<maya>"])
    ids = vocabulary.encode(["photo of a <maya> dog"])
    states = []
    for seed in (0, 1):
        vector = torch.randn(1, 32, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad(), words.filled(pipeline.text_encoder, {vocabulary.ids["<maya>"]: vector}):
            states.append(pipeline.text_encoder(ids)[0])
    place = int((ids[0] == vocabulary.ids["<maya>"]).nonzero())
    assert torch.equal(states[0][:, :place], states[1][:, :place])
    assert not torch.equal(states[0][:, place:], states[1][:, place:])


def test_a_word_means_the_mean_of_its_tokens(pipeline):
    table = pipeline.text_encoder.get_input_embeddings().weight
    vocabulary = pipeline.tokenizer.get_vocab()
    dog = words.meaning("dog", pipeline.tokenizer, pipeline.text_encoder)
    assert torch.equal(dog, table[vocabulary["dog</w>"]])
    two = words.meaning("dog garden", pipeline.tokenizer, pipeline.text_encoder)
    torch.testing.assert_close(two, (table[vocabulary["dog</w>"]] + table[vocabulary["garden</w>"]]) / 2)


def test_a_base_without_the_rare_word_gives_a_vector_as_long_as_words_are(pipeline):
    first = words.rare_meaning(pipeline.tokenizer, pipeline.text_encoder, seed=0)
    again = words.rare_meaning(pipeline.tokenizer, pipeline.text_encoder, seed=0)
    assert torch.equal(first, again)
    rows = pipeline.text_encoder.get_input_embeddings().weight
    torch.testing.assert_close(first.norm(), rows.norm(dim=1).mean())


def test_a_word_of_several_vectors_is_spread_as_diffusers_does():
    own = tokenizer()
    known = ["<t>", "<t>_1", "<t>_2", "<s>"]
    own.add_tokens(known)
    from diffusers.loaders import TextualInversionLoaderMixin

    theirs = TextualInversionLoaderMixin().maybe_convert_prompt("a <t> dog and <s>", own)
    assert words.spread("a <t> dog and <s>", known) == theirs == "a <t> <t>_1 <t>_2 dog and <s>"
