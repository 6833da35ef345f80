"""Text from outside in one line, without what steers a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from visionscope.core.printable import printable


@given(st.text(alphabet=st.characters()))
def test_nothing_steers_a_terminal_and_every_character_can_be_written(text: str) -> None:
    shown = printable(text)
    assert all(one.isprintable() or one == "\N{NO-BREAK SPACE}" for one in shown)
    assert shown.encode().decode() == shown
    assert printable(shown) == shown


def test_what_is_seen() -> None:
    assert printable("red \x1b[31m\tdog\nhouse") == r"red \x1b[31m dog house"
    assert printable("caf\udce9") == r"caf\udce9"
    assert printable("gpj\u202e.exe") == r"gpj\u202e.exe"
    assert printable("café, 猫, 0.5\N{NO-BREAK SPACE}π") == "café, 猫, 0.5\N{NO-BREAK SPACE}π"
