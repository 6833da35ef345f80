"""Whatever is typed ends with an exit code that is documented, and in one line: 200 examples here, 5,000 when slow."""

from collections import Counter

import pytest

from cli.fuzzing import SHARES, Tally, ending, fuzz, summary


@pytest.mark.parametrize("kind", SHARES)
def test_odd_input_ends_in_one_line(kind: str) -> None:
    tally = fuzz(kind, round(200 * SHARES[kind]), 1)
    assert tally.misses == []
    assert sum(tally.codes.values()) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHARES)
def test_much_odd_input_ends_in_one_line(kind: str) -> None:
    tally = fuzz(kind, round(5000 * SHARES[kind]), 2)
    assert tally.misses == []
    assert tally.begun or kind == "model specs"  # some of it was valid


@pytest.mark.parametrize(
    ("code", "out", "err", "miss"),
    [
        (2, "", "visionscope: images: must be ...\n", ""),
        (0, "a table\n", "", ""),
        (1, "", "visionscope: failed: fourier of cnn, part 0000-0001: torn\n", ""),
        (3, "", "", "exit code 3"),
        (2, "", "", "not one line"),
        (2, "", "visionscope: a\nvisionscope: b\n", "not one line"),
        (2, "", "visionscope: left out: a\nvisionscope: b\n", ""),
        (2, "", "usage: python\n", "stderr"),
        (1, "", "Traceback (most recent call last):\n", "a fault of our own"),
        (1, "", "visionscope: this is a bug in visionscope: KeyError: 'x'\n", "a fault of our own"),
        (0, "\x1b[31mred\n", "", "control characters"),
        (2, "", f"visionscope: {'x' * 2000}\n", "an endless line"),
    ],
)
def test_what_counts_as_a_miss(code: int, out: str, err: str, miss: str) -> None:
    assert ending(code, out, err).startswith(miss)
    assert bool(ending(code, out, err)) == bool(miss)


def test_the_summary_counts() -> None:
    tally = Tally("study files", Counter({2: 3}), Counter({"run": 3}), 1, ["x"])
    text = summary([tally], 7)
    assert "3 examples, 1 misses; seed 7" in text
    assert "| study files | 3 | 0 | 0 | 3 | 1 | 1 |" in text
    assert "| run | 3 |" in text
