"""What no sentence, limit or caption that people read may hold, and how long a headline may be."""

import re
from collections.abc import Iterable

from visionscope.core.diagnostic import Answer

MOST_WORDS = 25

_NOT_PLAIN = (
    r"can't be (told|said|compared)",
    r"told apart",
    r"(from|by more than|no more than|could by) chance could",
    r"than chance could|that chance could",
    r"can be told",
    r"of all removals",
    r"more confident for its accuracy",
    r"\b1 (mini-batches|images|points|units|types|severities|groups|networks|models|rings|removals|eigenvalues)\b",
    r"\bpi\b",
    r"\bis no [A-Z]",
    r"to be had",
    r"\bmend",
)


def spoken(answer: Answer) -> Iterable[str]:
    """Whatever an answer puts before people in words.

    Args:
        answer: of a diagnostic.
    """
    for one in answer.findings:
        yield from (one.headline, one.brief, one.detail)
    yield from answer.limits
    for figure in answer.figures:
        yield from (figure.title, figure.caption)
        yield from (text for panel in figure.panels for text in (panel.title, panel.x_label, panel.y_label))


def check_words(answer: Answer) -> None:
    """Fails where a text is not plain, a headline too long, or a sentence between models does not name them.

    Args:
        answer: of a diagnostic.
    """
    for text in spoken(answer):
        for pattern in _NOT_PLAIN:
            assert not re.search(pattern, text), f"{pattern}: {text}"
    known = set(answer.tables["rows"]["model"].to_pylist())
    for one in answer.findings:
        assert len(one.headline.split()) <= MOST_WORDS, one.headline
        assert one.headline.endswith("."), one.headline
        assert bool(one.model) != bool(one.models), one.headline
        assert {one.model, *one.models} - {""} <= known, one.headline
        assert (one.value is None) or one.measure, one.headline
        assert (one.low is None) == (one.high is None), one.headline
        if one.low is not None and one.value is not None:
            assert one.low <= one.value <= one.high, one.headline
        if any("(random weights)" in text for text in (one.headline,)):
            assert not one.state, one.headline
