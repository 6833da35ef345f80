"""What a page's script unpacks."""

import base64
import gzip
import json
import re
from typing import Any


def page_data(page: str) -> dict[str, Any]:
    """Panels, palette, tables and the rows behind sentences, with each list where it belongs."""
    found = re.search(r'<script type="application/gzip" id="page-data">([\w+/=]*)</script>', page)
    assert found is not None
    values = json.loads(gzip.decompress(base64.b64decode(found.group(1))))
    return _whole({key: value for key, value in values.items() if key != "lists"}, values["lists"])


def _whole(value: Any, lists: list[Any]) -> Any:
    if isinstance(value, list):
        return [_whole(part, lists) for part in value]
    if not isinstance(value, dict):
        return value
    return lists[value["$"]] if value.keys() == {"$"} else {key: _whole(part, lists) for key, part in value.items()}


def headers(page: str, table: str) -> list[str]:
    """The headers of a section's table, with plain spaces."""
    return [name.replace("\N{NO-BREAK SPACE}", " ") for name, _, _ in page_data(page)["tables"][table]["columns"]]
