"""Figures 5a, 5b, 7a, 12b, C.1, C.2, C.3a and E.1: test error and training loss, accuracy and robustness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.claims.one_seed import Tables
from visionscope.claims.published import figure as published
from visionscope.core.figure import Line, Panel
from visionscope.experiments.figures.over_seeds import (
    BySeed,
    by_seed,
    mean_and_ends,
    mean_line,
    strip,
)

ERROR, NLL = "test error in %", "NLL on augmented training images (nat)"


def errors(tables: Tables, variants: Sequence[str]) -> BySeed:
    """The test error of each variant and seed, in percent.

    Args:
        tables: of an experiment.
        variants: names.
    """
    return _percent(by_seed(tables, "training", "error", variants))


def losses(tables: Tables, variants: Sequence[str]) -> BySeed:
    """The NLL on augmented training images of each variant and seed, in nats.

    Args:
        tables: of an experiment.
        variants: names.
    """
    return by_seed(tables, "training", "nll_train", variants)


def error_and_loss(
    tables: Tables,
    variants: Sequence[str],
    *,
    names: Mapping[str, str] | None = None,
    told: Mapping[str, tuple[float, float]] | None = None,
    of: str = "paper",
) -> Iterator[Panel]:
    """Test error and training loss of variants side by side.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
        names: what stands below a variant instead of its name.
        told: the published error and loss of variants.
        of: what these are of.
    """
    for place, (title, label, values) in enumerate(
        (
            ("test error", ERROR, errors(tables, variants)),
            ("training loss", NLL, losses(tables, variants)),
        )
    ):
        if values:
            beside = {name: pair[place] for name, pair in (told or {}).items()}
            yield strip(title, label, values, names=names, published=beside, of=of)


def over_networks(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Figure 5a: error and loss of each network, and one against the other, beside the paper's networks.

    Args:
        tables: of an experiment.
        variants: in the order of the figure, from strong to weak inductive bias.
    """
    yield from error_and_loss(tables, variants)
    yield from _scatter("ours", losses(tables, variants), errors(tables, variants), NLL, ERROR)
    for name, title in (("figC1a_cifar10", "paper, CIFAR-10"), ("fig5a_cifar100", "paper, CIFAR-100")):
        read = published(name)
        lines = [_mark(one, values["nll_train"], values["error"]) for one, values in read.items()]
        yield _scattered(title, NLL, ERROR, lines)


def along(
    tables: Tables,
    curves: Mapping[str, Mapping[str, str]],
    x_label: str,
    told: Sequence[tuple[str, Any, Sequence[str]]],
) -> Iterator[Panel]:
    """Figures 5b and C.2: error and loss over shares of the data or numbers of epochs, beside the paper's.

    Args:
        tables: of an experiment.
        curves: of each network, its variants by what stands below them.
        x_label: what that is.
        told: of each published curve its name, its numbers, and what stands below them.
    """
    for title, label, read, key in (
        ("test error", ERROR, errors, "error"),
        ("training loss", NLL, losses, "nll_train"),
    ):
        ticks = tuple(dict.fromkeys(tick for own in curves.values() for tick in own))
        lines = []
        for network, own in curves.items():
            values = read(tables, list(own.values()))
            known = [(place, values[own[tick]]) for place, tick in enumerate(ticks) if own.get(tick) in values]
            if known:
                columns = [list(one.values()) for _, one in known]
                lines.append(mean_line(network, [place for place, _ in known], columns))
        if not lines:
            continue
        yield Panel(
            model="",
            title=f"{title}, ours",
            x_label=x_label,
            y_label=label,
            lines=tuple(lines),
            x_names=ticks,
            group=title,
        )
        paper = [
            Line(name=name, x=tuple(map(float, range(len(numbers[key])))), y=tuple(numbers[key]))
            for name, numbers, _ in told
        ]
        names = tuple(told[0][2])
        yield Panel(
            model="",
            title=f"{title}, paper, CIFAR-100",
            x_label=x_label,
            y_label=f"{label}, paper",
            lines=tuple(paper),
            x_names=names,
            group=title,
        )


def accuracy_and_robustness(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Figure 12b: accuracy on corrupted against clean images, beside the paper's; and the accuracies by seed.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    clean = _percent(by_seed(tables, "training", "top_1", variants))
    if clean:
        yield strip("accuracy", "test accuracy in %", clean)
    hurt = _percent(by_seed(tables, "corruption_summary", "accuracy", variants, corruption="all"))
    x, y = "accuracy on clean images in %", "mean accuracy on corrupted images in %"
    yield from _scatter("ours", clean, hurt, x, y)
    for name, title in (
        ("fig12b_cifar100_acc_robustness", "paper, CIFAR-100-C"),
        ("figE1_imagenet_acc_robustness", "paper, ImageNet-C"),
    ):
        yield _scattered(title, x, y, [_mark(one, *pair) for one, pair in published(name).items()])


def published_pairs(name: str, keys: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Error and loss of a published figure with lists of both, by variant.

    Args:
        name: of the figure.
        keys: place of each variant in the lists.
    """
    read = published(name)
    return {variant: (read["error"][place], read["nll_train"][place]) for variant, place in keys.items()}


def _scatter(title: str, across: BySeed, up: BySeed, x_label: str, y_label: str) -> Iterator[Panel]:
    """The mean of each variant; one without either number is left out."""
    both = [name for name in across if name in up]
    lines = []
    for name in both:
        mean, low, high = mean_and_ends(list(up[name].values()))
        x, *_ = mean_and_ends(list(across[name].values()))
        lines.append(Line(name=name, x=(x,), y=(mean,), low=(low,), high=(high,), role="points"))
    if lines:
        yield _scattered(title, x_label, y_label, lines)


def _scattered(title: str, x_label: str, y_label: str, lines: Sequence[Line]) -> Panel:
    # The paper's networks lie elsewhere: they stand beside ours on axes of their own.
    own = f"{y_label} ({title})"
    return Panel(model="", title=title, x_label=x_label, y_label=own, lines=tuple(lines), group=f"{y_label}, {x_label}")


def _mark(name: str, x: float, y: float) -> Line:
    return Line(name=name, x=(x,), y=(y,), role="points")


def _percent(values: BySeed) -> BySeed:
    return {variant: {seed: 100 * value for seed, value in own.items()} for variant, own in values.items()}
