"""The order of the paper's build-up rule, on accuracies that are known beforehand."""

from visionscope.experiments.buildup.path import Step, longest, name_of, walk

# Fig. 12a, CIFAR-100 top-1 in %, by places in stages 1 to 4.
PAPER = {
    (0, 0, 0, 0): 82.48,
    (0, 0, 0, 1): 83.45,
    (0, 0, 0, 2): 83.66,
    (0, 0, 1, 2): 83.77,
    (0, 0, 2, 2): 83.52,
    (0, 1, 1, 2): 84.02,
    (0, 2, 1, 2): 83.39,
    (1, 1, 1, 2): 83.80,
}


def rises(step: Step) -> bool:
    return PAPER[step.places] > PAPER[step.parent]


def test_the_papers_accuracies_lead_to_the_papers_network() -> None:
    steps = list(walk((1, 2, 3, 2), rises))
    assert [step.places for step in steps] == [places for places in PAPER if any(places)]
    assert [step.places for step in steps if rises(step)][-1] == (0, 1, 1, 2)


def test_where_nothing_helps_each_stage_is_tried_once() -> None:
    steps = list(walk((1, 0, 3, 2), lambda step: False))
    assert [step.places for step in steps] == [(0, 0, 0, 1), (0, 0, 1, 0), (1, 0, 0, 0)]
    assert {step.parent for step in steps} == {(0, 0, 0, 0)}


def test_no_walk_is_longer_than_the_one_on_which_everything_helps() -> None:
    whole = longest((1, 1, 2))
    assert whole == ((0, 0, 1), (0, 0, 2), (0, 1, 2), (1, 1, 2))
    for kept in range(len(whole)):
        told = iter([True] * kept + [False] * 10)
        assert len(list(walk((1, 1, 2), lambda step, told=told: next(told)))) <= len(whole)  # type: ignore[misc]


def test_names() -> None:
    assert name_of((0, 1, 2)) == "0,1,2"
