"""What a page carries compressed: its drawing library, and the numbers of its figures and tables."""

import base64
import gzip
import json
import math
from typing import Any

_SHORT = 7
"""Lists of more values than this are kept once, however often a page shows them."""

POOLED = "$"
"""The only key of an object that stands for a list: its place among the page's lists."""


def packed(text: str) -> str:
    """Text as gzip in base64, which a browser's `DecompressionStream` unpacks.

    Args:
        text: any.
    """
    # No time of creation: the same tables make the same page.
    return base64.b64encode(gzip.compress(text.encode("utf-8", "backslashreplace"), 9, mtime=0)).decode()


def packed_values(values: dict[str, Any]) -> str:
    """Plain values as packed JSON, with the key `lists`; null for numbers that are not finite.

    Overlaid and side by side, figures show the same numbers. A long list is kept once, among `lists`, and
    `{"$": place}` stands for it.

    Args:
        values: dicts, lists and scalars.
    """
    lists: dict[str, int] = {}
    shown = {**{key: _pooled(value, lists) for key, value in values.items()}, "lists": []}
    # The texts of the lists are JSON already.
    text = _json(shown).removesuffix("[]}") + f"[{','.join(lists)}]}}"
    return packed(text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _pooled(value: Any, lists: dict[str, int]) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _pooled(part, lists) for key, part in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    parts = [_pooled(part, lists) for part in value]
    if len(parts) <= _SHORT or any(isinstance(part, (list, dict)) for part in parts):
        return parts
    return {POOLED: lists.setdefault(_json(parts), len(lists))}
