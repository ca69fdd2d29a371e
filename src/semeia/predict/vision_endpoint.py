"""A vision-language model behind an OpenAI-compatible address, as annotator.

One request asks for a caption, one a pass for labels. What times out, fails, is refused or is nonsense is asked again
a few times and then missing from that face alone; where nothing is answered any more, the run stops and can be resumed.

Shapes      V views   S side of a crop
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from semeia.predict.prompted import UnansweredError, ask
from semeia.records import SemeiaError
from semeia.systems.face_mllm.annotate import Annotator, Opinion, View

KEY = "SEMEIA_ENDPOINT_KEY"
"""Environment variable of the key that an endpoint asks for; it is written nowhere."""

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which asking again may help."""

_WRONG = frozenset({401, 403, 404, 405})
"""Statuses that every face would get."""

_LARGEST = 4_000_000
"""Bytes of an answer that are read."""

_LONGEST_PAUSE = 60.0
_MOST_FAILURES = 12
"""Requests in a row, each tried to its limit, after which an endpoint counts as gone."""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint.

    Attributes:
        url: Up to and with ``/v1``, or as the service has it; ``/chat/completions`` is added.
        model: Name that the endpoint knows.
        passes: Rounds of labels, which vote.
        timeout: Seconds for one request.
        tries: Requests for one answer.
        parallel: Requests at a time of one worker.
        pause: Seconds before the second try; each further one waits twice as long.
        key: Sent as a bearer token; never written.
    """

    url: str
    model: str
    passes: int = 1
    timeout: float = 120.0
    tries: int = 4
    parallel: int = 4
    pause: float = 1.0
    seed: int = 0
    key: str | None = field(default=None, repr=False)

    def load(self) -> Annotator:
        """Check the address.

        Raises:
            SemeiaError: It is none of http or https.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SemeiaError(f"{self.url}: expected the address of an endpoint, such as http://localhost:8000/v1")
        return EndpointAnnotator(self)

    def as_dict(self) -> dict[str, Any]:
        """What answers depend on; no key."""
        return {"kind": "endpoint", "url": self.url, "model": self.model, "passes": self.passes, "seed": self.seed}


class EndpointAnnotator:
    """Asks an endpoint about faces, several at a time.

    Args:
        at: The endpoint.
        sleep: Waits some seconds.
    """

    def __init__(self, at: Endpoint, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.at, self.sleep = at, sleep
        self.name, self.version = at.model, urlsplit(at.url).hostname or ""
        self.passes, self.seed = at.passes, at.seed
        self._failures = 0
        self._lock = threading.Lock()

    def look(self, views: Sequence[View]) -> list[Opinion]:
        """One opinion a view.

        Raises:
            SemeiaError: The endpoint does not know us or the model, or answers nothing any more.
        """
        with ThreadPoolExecutor(self.at.parallel) as pool:
            return list(pool.map(self._opinion, views))

    def _opinion(self, view: View) -> Opinion:
        picture = _data_url(view.crop)
        return ask(lambda prompt, most: self._answer(picture, prompt, most), view, self)

    def _answer(self, picture: str, prompt: str, most: int) -> str:
        """The text of an answer, after at most ``tries`` requests."""
        body = json.dumps({
            "model": self.at.model, "temperature": 0, "max_tokens": most,
            "messages": [{"role": "user", "content": [
                {"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": picture}},
            ]}],
        }).encode()  # fmt: skip
        why, wait = "not answered", self.at.pause
        for number in range(self.at.tries):
            if number:
                self.sleep(wait * random.uniform(0.75, 1.25))
                wait = min(2 * wait, _LONGEST_PAUSE)
            try:
                said = self._post(body)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code in _WRONG:
                        raise SemeiaError(self._wrong(error)) from error
                    why = f"not answered (status {error.code})"
                    if error.code not in _AGAIN:
                        # Content filters answer so: about this face, not about us.
                        self._count(alive=True)
                        raise UnansweredError(f"refused (status {error.code})") from error
                    wait = max(wait, _asked_pause(error.headers.get("Retry-After")))
                continue
            except TimeoutError:
                why = "timed out"
                continue
            except (OSError, http.client.HTTPException) as error:
                timed = isinstance(getattr(error, "reason", None), TimeoutError)
                why = "timed out" if timed else "not answered"
                continue
            text = _text(said)
            if text is not None:
                self._count(alive=True)
                return text
            why = "nonsense from the endpoint"
        self._count(alive=False)
        raise UnansweredError(f"{why} after {self.at.tries} tries")

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.at.key:
            headers["Authorization"] = f"Bearer {self.at.key}"
        request = urllib.request.Request(f"{self.at.url.rstrip('/')}/chat/completions", body, headers)
        deadline = time.monotonic() + self.at.timeout
        said = bytearray()
        with urllib.request.urlopen(request, timeout=self.at.timeout) as reply:
            # The socket's own timeout starts anew with every byte of an answer that trickles.
            while len(said) < _LARGEST and (chunk := reply.read1(65536)):
                said += chunk
                if time.monotonic() > deadline:
                    raise TimeoutError
        return bytes(said)

    def _count(self, *, alive: bool) -> None:
        with self._lock:
            self._failures = 0 if alive else self._failures + 1
            gone = self._failures >= _MOST_FAILURES
        if gone:
            raise SemeiaError(f"{self.at.url}: {_MOST_FAILURES} requests in a row were not answered, each tried "
                              f"{self.at.tries} times; start the endpoint again, then give the same command to go on"
                              )  # fmt: skip

    def _wrong(self, error: urllib.error.HTTPError) -> str:
        hint = (
            f"set {KEY} to a key that it takes"
            if error.code in {401, 403}
            else "check the address and the model's name"
        )
        return f"{self.at.url}: status {error.code} for model {self.at.model!r}; {hint}"


def _text(said: bytes) -> str | None:
    """The text of an answer of the API; None where it is none."""
    try:
        choice = json.loads(said)["choices"][0]
        message = choice["message"]
        if message.get("refusal") or choice.get("finish_reason") == "content_filter":
            raise UnansweredError("refused")
        content = message["content"]
        if isinstance(content, list):
            content = "".join(part["text"] for part in content if part.get("type") == "text")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return None
    return content if isinstance(content, str) else None


def _asked_pause(header: str | None) -> float:
    """Seconds that an endpoint asks to wait, up to a limit; dates are not read."""
    try:
        return min(max(float(header or 0), 0.0), _LONGEST_PAUSE)
    except ValueError:
        return 0.0


def _data_url(crop: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(crop).save(stream, format="JPEG", quality=95)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
