"""An OpenAI-compatible endpoint that answers, times out, refuses and talks nonsense."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from semeia.predict.vision_endpoint import Endpoint, EndpointAnnotator
from semeia.records import Box, Face, SemeiaError
from semeia.systems.face_mllm.annotate import View

VIEW = View(
    np.zeros((8, 8, 3), np.uint8), Face(Box(0, 0, 8, 8), 1, 1, np.zeros((468, 3))), np.zeros((8, 8, 3), np.uint8)
)


def said(text, **extra):
    return 200, json.dumps({"choices": [{"message": {"content": text} | extra}]}).encode(), {}


CAPTION, LABELS = said("A man with a beard."), said('{"beard": "yes", "hat": "no"}')


@pytest.fixture
def server():
    """Answers in order from ``server.script``, its last for good; keeps what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            http.asked.append((self.path, dict(self.headers), body))
            reply = http.script.pop(0) if len(http.script) > 1 else http.script[0]
            if callable(reply):
                reply = reply(body)
            if reply is None:
                http.free.wait(5)
                return
            status, content, headers = reply
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.asked, http.script, http.free = [], [], threading.Event()
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    yield http
    http.free.set()
    http.shutdown()
    http.server_close()


def annotator(server, **how):
    given = {"url": f"http://127.0.0.1:{server.server_port}/v1", "model": "m", "timeout": 5, "tries": 3, "parallel": 1}
    pauses = []
    made = EndpointAnnotator(Endpoint(**(given | how)), sleep=pauses.append)
    made.pauses = pauses
    return made


def test_a_caption_and_labels_are_asked_with_the_picture_and_the_key(server):
    server.script = [CAPTION, LABELS]
    (opinion,) = annotator(server, key="secret").look([VIEW])
    assert opinion.caption == "A man with a beard."
    assert opinion.labels == {"beard": "yes", "hat": "no"}
    assert opinion.problems == ()
    path, headers, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    text, image = body["messages"][0]["content"]
    assert "Do not name" in text["text"]
    assert image["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert body["model"] == "m"


def test_a_key_is_told_nowhere():
    endpoint = Endpoint("http://h/v1", "m", key="secret")
    assert "secret" not in repr(endpoint) + json.dumps(endpoint.as_dict())


def test_passes_vote(server):
    server.script = [CAPTION, said('{"hat": "yes"}'), said('{"hat": "yes"}'), said('{"hat": "no"}')]
    assert annotator(server, passes=3).look([VIEW])[0].labels == {"hat": "yes"}


def test_what_fails_for_a_while_is_asked_again_after_longer_pauses(server):
    server.script = [(503, b"", {}), (429, b"", {"Retry-After": "7"}), CAPTION, LABELS]
    asking = annotator(server)
    assert asking.look([VIEW])[0].problems == ()
    assert 0.7 < asking.pauses[0] < 1.3
    assert asking.pauses[1] >= 5


def test_a_time_out_is_missing_after_some_tries(server):
    server.script = [None]
    (opinion,) = annotator(server, timeout=0.05, tries=2).look([VIEW])
    assert opinion.caption is None
    assert opinion.labels == {}
    assert opinion.problems == ("caption timed out after 2 tries", "labels timed out after 2 tries")


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"choices": []}', b'{"choices": [{"message": null}]}'])
def test_nonsense_is_missing_after_some_tries(server, body):
    server.script = [(200, body, {})]
    (opinion,) = annotator(server).look([VIEW])
    assert opinion.problems[0] == "caption nonsense from the endpoint after 3 tries"
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "reply",
    [said("I'm sorry, but I can't help with that."), said(None, refusal="No."), (400, b"filtered", {})],
    ids=["words", "field", "status"],
)
def test_refusals_are_missing_and_not_asked_again(server, reply):
    server.script = [reply]
    (opinion,) = annotator(server).look([VIEW])
    assert opinion.caption is None
    assert opinion.labels == {}
    assert all("refused" in problem for problem in opinion.problems)
    assert len(server.asked) == 2


def test_labels_that_are_no_json_are_missing_and_the_caption_stays(server):
    server.script = [CAPTION, said("He has a beard.")]
    (opinion,) = annotator(server).look([VIEW])
    assert opinion.caption is not None
    assert opinion.problems == ("labels are nonsense",)


@pytest.mark.parametrize(("status", "hint"), [(401, "SEMEIA_ENDPOINT_KEY"), (404, "check the address")])
def test_an_endpoint_that_does_not_know_us_stops_the_run(server, status, hint):
    server.script = [(status, b"", {})]
    with pytest.raises(SemeiaError, match=hint):
        annotator(server).look([VIEW])


def test_an_endpoint_that_is_gone_stops_the_run_in_the_end(server):
    server.script = [(500, b"", {})]
    with pytest.raises(SemeiaError, match="give the same command to go on"):
        annotator(server, tries=1).look([VIEW] * 20)
    assert len(server.asked) < 20


def test_several_requests_run_at_a_time_and_answers_keep_their_order(server):
    server.script = [lambda body: CAPTION if "Describe" in str(body["messages"]) else LABELS]
    opinions = annotator(server, parallel=4).look([VIEW] * 6)
    assert [o.caption for o in opinions] == ["A man with a beard."] * 6
    assert all(o.labels for o in opinions)


@pytest.mark.parametrize("url", ["ftp://h/v1", "file:///etc/passwd", "http://", "host:8000"])
def test_other_addresses_are_refused(url):
    with pytest.raises(SemeiaError, match="expected the address"):
        Endpoint(url, "m").load()
