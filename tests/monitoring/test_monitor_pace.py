"""When a monitor measures: every moment that is due, in the same places across stops, and within its budget."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionscope.monitoring.pace import Pace


def taken(pace: Pace, steps: range, per_epoch: float) -> list[int]:
    return [step for step in steps if pace.due(step, step / per_epoch)]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 40))
def test_steps_are_multiples_wherever_a_training_was_stopped(last: int, every: int, stop: int) -> None:
    multiples = [step for step in range(last + 1) if step % every == 0]
    stop = min(stop, last)
    first = taken(Pace(every, None), range(stop + 1), 7)
    rest = taken(Pace(every, None), range(stop, last + 1), 7)
    assert sorted({*first, *rest}) == multiples


@given(st.floats(1, 20), st.integers(1, 100))
def test_each_epoch_is_measured_once_at_its_first_step(per_epoch: float, last: int) -> None:
    found = taken(Pace("epoch", None), range(last + 1), per_epoch)
    ends = [next(step for step in itertools.count() if step / per_epoch > number - 1e-9) for number in range(last + 1)]
    assert found == [step for step in ends if step <= last]


def test_epochs_that_are_told_when_they_end() -> None:
    pace = Pace("epoch", None)
    assert [pace.due(10 * epoch, epoch) for epoch in (1, 2, 3)] == [True, True, True]
    assert not Pace("epoch", None).due(15, 1.5)  # it goes on in the middle


@given(st.floats(0.001, 10), st.floats(0.1, 10), st.floats(0.01, 1), st.integers(1, 6))
def test_the_share_of_the_time_is_kept(cost: float, epoch: float, at_most: float, scale: int) -> None:
    pace = Pace("epoch", at_most)
    measured, said, ended, passed = [], [], 0.0, 0.0
    for number in range(2 ** (scale + 6)):
        passed += epoch if number else 0.0
        if not pace.due(number, number):
            continue
        line = pace.too_dear(passed - ended)
        if line:
            said.append(line)
            continue
        measured.append(number)
        pace.took(cost if measured[1:] else 1000.0)  # the first imports and compiles, and does not count
        ended = passed
    assert measured[:2] == [0, 1]
    gaps = [after - before for before, after in itertools.pairwise(measured[1:])]
    assert all(cost <= at_most * gap * epoch * (1 + 1e-9) for gap in gaps)
    interval = 2 ** len(said)
    assert all(place % interval == 0 for place in measured[-1:] if gaps)
    if gaps:  # and not less often than that asks for
        assert interval == 1 or cost > at_most * epoch * interval / 4 * (1 - 1e-9)


def test_it_says_how_often_it_measures_from_then_on() -> None:
    pace = Pace(50, 0.05)
    for step in (0, 50):
        assert pace.due(step, 0)
        assert pace.too_dear(10.0) == ""
        pace.took(2.0)
    assert pace.due(100, 0)
    said = pace.too_dear(10.0)
    assert re.fullmatch(
        r"monitor: a measurement would take 0\.2 of the training's time since the last one, and at_most is 0\.05; "
        r"from now on it measures every 100 steps",
        said,
    )
    assert [pace.due(step, 0) for step in (150, 200, 250, 300)] == [False, True, False, True]


@pytest.mark.parametrize("at_most", [None, 1.0])
def test_without_a_limit_the_clock_is_not_asked(at_most: float | None) -> None:
    pace = Pace("epoch", at_most)
    for _ in range(5):
        pace.took(1.0)
    assert (pace.too_dear(0.5) == "") == (at_most is None)
