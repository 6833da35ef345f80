"""Where text of a page may not break: between a number and its unit, between a value and its deviation."""

import re

_GAP = "\N{NO-BREAK SPACE}"
_UNITS = (
    *("%", "percentage points?", "pp", "points?", "nats?", "π", "rad", "px", "pixels?", "positions?"),
    *("images?", "mini-batches", "rows?", "GB", "MB", "kB", "ms", "s", "min", "h"),
)
_AFTER_NUMBER = re.compile(rf"(?<=\d) (?=(?:{'|'.join(_UNITS)})(?![A-Za-z]))")
_INSIDE = re.compile(r"(?<=percentage) (?=points?\b)|(?<=π) (?=rad\b)| (?=[±×] ?[\d.])|(?<=[±×]) (?=\d)")
_SIGNS = re.compile(r"\b([pn]) ([=<]) (?=\d)")


def unbroken(text: str) -> str:
    r"""Text whose numbers keep their units, at whatever width it is set.

    Args:
        text: plain text, no markup.

    Example:
        >>> unbroken("over 32 images, p < 0.001").replace("\N{NO-BREAK SPACE}", "_")
        'over 32_images, p_<_0.001'
    """
    text = _INSIDE.sub(_GAP, _AFTER_NUMBER.sub(_GAP, text))
    return _SIGNS.sub(rf"\1{_GAP}\2{_GAP}", text)
