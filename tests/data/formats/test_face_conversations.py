"""LLaVA JSON, TRL messages and imagefolder: written, read back, and refused where they are wrong."""

import json

import pyarrow.parquet as pq
import pytest

from semeia.data.formats import imagefolder_metadata, llava, trl_messages
from semeia.data.formats.llava import Conversation
from semeia.records import SemeiaError

CHATS = [
    Conversation("1", "a/1.jpg", (("Is it?", "Yes"), ("How old?", "34")), "world", "qa"),
    Conversation("2", "a/2.jpg", (("Décris.", "Un visage."),)),
]


def test_llava_is_read_as_it_was_written_and_has_the_picture_in_the_first_question_alone(tmp_path):
    assert llava.write(tmp_path / "c.json", iter(CHATS)) == 2
    assert list(llava.read(tmp_path / "c.json")) == CHATS
    (first, _) = json.loads((tmp_path / "c.json").read_text())
    assert first["conversations"][0] == {"from": "human", "value": "<image>\nIs it?"}
    assert first["conversations"][2] == {"from": "human", "value": "How old?"}


def test_no_conversations_are_an_empty_list(tmp_path):
    assert llava.write(tmp_path / "c.json", []) == 0
    assert list(llava.read(tmp_path / "c.json")) == []


def test_entries_without_a_picture_are_passed_over(tmp_path):
    (tmp_path / "c.json").write_text('[{"id": "1", "conversations": []}]')
    assert list(llava.read(tmp_path / "c.json")) == []


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '[{"id": 1, "image": "a"}]', '[{"id": 1, "image": "a", "conversations": []}]',
     '[{"id": 1, "image": "a", "conversations": [{"from": "human", "value": "q"}]}]',
     '[{"id": 1, "image": "a", "conversations": [{"from": "gpt", "value": "q"}, {"from": "human", "value": "a"}]}]'],
)  # fmt: skip
def test_other_json_is_refused(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(SemeiaError, match=r"c\.json.*expected"):
        list(llava.read(tmp_path / "c.json"))


def test_trl_messages_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "t.parquet"
    assert trl_messages.write(path, iter(CHATS), lambda image: image.encode()) == 2
    assert list(trl_messages.read(path)) == [(chat, chat.image.encode()) for chat in CHATS]
    (first, _) = pq.read_table(path).to_pylist()
    assert [m["role"] for m in first["messages"]] == ["user", "assistant", "user", "assistant"]
    assert [part["type"] for part in first["messages"][0]["content"]] == ["image", "text"]
    assert [part["type"] for part in first["messages"][2]["content"]] == ["text"]


def test_a_file_that_is_no_parquet_or_has_other_columns_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"nonsense")
    with pytest.raises(SemeiaError, match="cannot be read"):
        list(trl_messages.read(path))
    pq.write_table(pq.read_table(_written(tmp_path)).drop_columns(["images"]), path)
    with pytest.raises(SemeiaError, match="row 0"):
        list(trl_messages.read(path))


def _written(folder):
    trl_messages.write(folder / "w.parquet", CHATS, lambda _: b"")
    return folder / "w.parquet"


def test_an_imagefolder_is_read_as_it_was_written(tmp_path):
    samples = [("a/1.jpg", b"one", {"text": "A man.", "label_hat": None}), ("b/2.jpg", b"two", {"text": "Ö"})]
    assert imagefolder_metadata.write(tmp_path, iter(samples)) == 2
    found = list(imagefolder_metadata.read(tmp_path))
    assert [(p.relative_to(tmp_path).as_posix(), p.read_bytes(), f) for p, f in found] == samples


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", '{"text": "a"}', '{"file_name": "../x.jpg"}', '{"file_name": "/etc/hosts"}',
             '{"file_name": "none.jpg"}', '{"file_name": 3}'],
)  # fmt: skip
def test_wrong_lines_and_pictures_outside_are_refused(tmp_path, line):
    (tmp_path / "metadata.jsonl").write_text(line + "\n")
    with pytest.raises(SemeiaError, match="line 1"):
        list(imagefolder_metadata.read(tmp_path))


def test_a_list_is_missing_until_all_pictures_stand(tmp_path):
    def broken():
        yield "1.jpg", b"one", {}
        raise SemeiaError("stop")

    with pytest.raises(SemeiaError, match="stop"):
        imagefolder_metadata.write(tmp_path, broken())
    with pytest.raises(SemeiaError, match="found none"):
        list(imagefolder_metadata.read(tmp_path))
