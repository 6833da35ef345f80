"""How sentences and tables write numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from visionscope.core.finding import number


@pytest.mark.parametrize(
    ("value", "digits", "written"),
    [
        (-9.9987, 3, "−10.0"),
        (99.96, 3, "100"),
        (0.99951, 3, "1.00"),
        (12345.6, 3, "12346"),
        (999_999.7, 3, "1.00e+06"),
        (0.0312, 2, "0.031"),
        (0.0, 3, "0"),
        (None, 3, "–"),
        (float("nan"), 3, "–"),
    ],
)
def test_numbers_are_written_with_their_significant_digits(value: float | None, digits: int, written: str) -> None:
    assert number(value, digits) == written


@given(some.floats(1e-4, 999), some.integers(2, 4))
def test_no_number_has_more_digits_than_asked(value: float, digits: int) -> None:
    text = number(value, digits)
    shown = text.partition("e")[0].replace(".", "").lstrip("0")
    assert len(shown) <= max(digits, len(text.partition(".")[0]))
    assert float(text) == pytest.approx(value, rel=0.5 * 10 ** (1 - digits) * 1.001)
