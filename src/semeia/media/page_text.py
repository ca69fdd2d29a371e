"""Text and data from outside that stand in a page of HTML."""

from __future__ import annotations

import json
from html import escape
from typing import Any


def page_text(words: str) -> str:
    """Text from outside, for any place of the page; bytes that are no UTF-8 are spelled out."""
    return escape(words.encode("utf-8", "backslashreplace").decode("utf-8"))


def embedded(data: dict[str, Any]) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
