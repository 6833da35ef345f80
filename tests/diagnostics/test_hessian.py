"""The Hessian diagnostics against dense float64 Hessians of a small CNN and a small ViT."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from reference.hessian import by_magnitude, dense_hessian
from visionscope.core.objective import Objective
from visionscope.core.sample import Batch
from visionscope.core.subject import Scope, Subject
from visionscope.curvature.density import signs
from visionscope.curvature.sample_hessian import seed_of
from visionscope.diagnostics.density.question import Density
from visionscope.diagnostics.hessian.question import Hessian, HessianRow
from visionscope.errors import ConfigError, DataError, VisionscopeError

KINDS = ("transformer", "convolutional")
CLASSES = 4


@dataclasses.dataclass(frozen=True)
class Images:
    """Fixed images with mixed labels, in a given order."""

    images: Tensor
    labels: Tensor
    shares: Tensor
    order: Sequence[int]
    digest: str = "fixed"

    def __len__(self) -> int:
        return len(self.order)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for first in range(start, stop, batch_size):
            at = torch.tensor(self.order[first : min(first + batch_size, stop)])
            yield Batch(self.images[at], self.labels[at], at, self.labels.roll(1)[at], self.shares[at])


def network(kind: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model: nn.Module
        if kind == "transformer":
            model = timm.models.VisionTransformer(
                img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, mlp_ratio=2, num_classes=CLASSES
            )
        else:
            model = nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8)
            )
            model = nn.Sequential(model, nn.ReLU(), nn.Flatten(), nn.Linear(32, CLASSES))
        for value in model.parameters():
            value.data += 0.3 * torch.randn_like(value)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def subject(
    kind: str, *, images: int = 32, double: bool = True, order: Sequence[int] = (), **objective: Any
) -> Subject:
    model = network(kind)
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(images, 3, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (images,), generator=generator)
    shares = torch.rand(images, generator=generator)
    names = [name for name, _ in model.named_parameters()]
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    scopes = [Scope(level="model", name="model", parameters=tuple(names))]
    scopes += [Scope(level="stage", name=f"stage {n}", parameters=tuple(half)) for n, half in enumerate(halves)]
    return Subject(
        label=kind,
        model=model.double() if double else model,
        points=(),
        watch=lambda callback: pytest.fail("a Hessian watches nothing"),
        samples={"train": Images(pixels, labels, shares, order or range(images))},
        precision="fp64" if double else "fp32",
        objective=Objective(**objective),
        scopes=lambda: scopes,
        augmentation="weak",
    )


def rows(diagnostic: Hessian, given: Subject) -> list[HessianRow]:
    return [row for _, own in diagnostic.measure(given, diagnostic.parts(given)) for row in own]


def dense(given: Subject, mini_batch: int, names: Sequence[str] | None = None, weight_decay: float = 0.0) -> Tensor:
    """From the model, the images and the targets alone."""
    model = network(given.label).double()
    sample = given.samples["train"]
    assert isinstance(sample, Images)
    at = slice(16 * mini_batch, 16 * (mini_batch + 1))
    own, other = (
        torch.eye(CLASSES, dtype=torch.float64)[labels[at]] for labels in (sample.labels, sample.labels.roll(1))
    )
    targets = sample.shares[at, None] * own + (1 - sample.shares[at, None]) * other
    assert given.objective is not None
    smoothing = given.objective.label_smoothing
    targets = (1 - smoothing) * targets + smoothing / CLASSES
    return dense_hessian(model, sample.images[at], targets, weight_decay, names)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("double", [True, False])
def test_the_five_largest_of_each_mini_batch(kind: str, double: bool) -> None:
    given = subject(kind, double=double, weight_decay=0.05, label_smoothing=0.1)
    found = rows(Hessian(), given)
    assert [row.mini_batch for row in found] == [0] * 5 + [1] * 5
    for mini_batch in (0, 1):
        exact = by_magnitude(dense(given, mini_batch, weight_decay=0.05), 5)
        values = [row.eigenvalue for row in found if row.mini_batch == mini_batch]
        assert all(row.converged for row in found)
        np.testing.assert_allclose(np.array(values, dtype=float), exact.numpy(), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_scopes_are_the_dense_diagonal_blocks(kind: str) -> None:
    given = subject(kind, images=16, weight_decay=0.0)
    found = rows(Hessian(scopes="model,stage", k=4), given)
    for scope in given.scopes():
        exact = by_magnitude(dense(given, 0, scope.parameters), 4)
        own = [row for row in found if row.scope == scope.name]
        np.testing.assert_allclose([row.eigenvalue or 0.0 for row in own], exact.numpy(), rtol=1e-4)
        assert {row.parameters for row in own} == {len(dense(given, 0, scope.parameters))}


def test_weight_decay_shifts_the_whole_spectrum_and_may_change_the_choice() -> None:
    given = subject("transformer", images=16)
    plain, moved = dense(given, 0), dense(given, 0, weight_decay=3.0)
    torch.testing.assert_close(torch.linalg.eigvalsh(moved), torch.linalg.eigvalsh(plain) + 3.0)
    found = rows(Hessian(), subject("transformer", images=16, weight_decay=3.0))
    np.testing.assert_allclose([row.eigenvalue or 0.0 for row in found], by_magnitude(moved, 5).numpy(), rtol=1e-4)


def test_weight_decay_on_matrices_alone() -> None:
    given = subject("convolutional", images=16, weight_decay=2.0, decays="matrices")
    names = dict(network("convolutional").named_parameters())
    mask = torch.cat([torch.full((value.numel(),), float(value.ndim > 1)) for value in names.values()]).double()
    exact = by_magnitude(dense(given, 0) + 2.0 * torch.diag(mask), 5)
    found = rows(Hessian(), given)
    np.testing.assert_allclose([row.eigenvalue or 0.0 for row in found], exact.numpy(), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_inside_a_mini_batch_does_not_matter(kind: str) -> None:
    order = [*reversed(range(16)), *np.random.default_rng(0).permutation(range(16, 32)).tolist()]
    one, other = (rows(Hessian(tolerance=1e-9), subject(kind, order=chosen)) for chosen in ((), order))
    for a, b in zip(one, other, strict=True):
        assert a.eigenvalue == pytest.approx(b.eigenvalue, rel=1e-9)


def test_batch_statistics_of_the_mini_batch_are_an_option() -> None:
    given = subject("convolutional", images=16, weight_decay=0.0)
    given.model[0][2] = given.model[1] = nn.GELU()  # type: ignore[index, operator]  # the twin takes differences, which kinks spoil
    before = {name: value.clone() for name, value in given.model.state_dict().items()}
    found = rows(Hessian(batch_norm="train"), given)
    assert all(torch.equal(value, before[name]) for name, value in given.model.state_dict().items())
    model = network("convolutional").double()
    model[0][2] = model[1] = nn.GELU()  # type: ignore[index, operator]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    sample = given.samples["train"]
    assert isinstance(sample, Images)
    own, other = (torch.eye(CLASSES, dtype=torch.float64)[labels] for labels in (sample.labels, sample.labels.roll(1)))
    targets = sample.shares[:, None] * own + (1 - sample.shares[:, None]) * other
    exact = by_magnitude(dense_hessian(model, sample.images, targets), 5)
    np.testing.assert_allclose([row.eigenvalue or 0.0 for row in found], exact.numpy(), rtol=1e-4)
    assert {row.batch_norm for row in found} == {"train"}


def test_density_and_trace_of_the_whole_sample() -> None:
    given = subject("convolutional", images=48, weight_decay=0.05)
    diagnostic = Density(mini_batches=3, probes=10, steps=30, sketch=16)
    found = [row for _, own in diagnostic.measure(given, diagnostic.parts(given)) for row in own]
    whole = sum(dense(given, mini_batch) for mini_batch in range(3)) / 3
    whole = whole + 0.05 * torch.eye(len(whole), dtype=torch.float64)
    spectrum = torch.linalg.eigvalsh(whole).numpy()
    probes = [[row for row in found if row.quantity == "ritz" and row.probe == probe] for probe in range(10)]
    for probe, own in enumerate(probes):
        start = signs(whole[0], torch.Generator().manual_seed(seed_of(0, probe))) / len(whole) ** 0.5
        vector = start
        for degree in range(1, 6):
            vector = whole @ vector
            assert sum(row.weight * row.value**degree for row in own) == pytest.approx(float(start @ vector), rel=1e-6)
    assert max(row.value for row in found if row.quantity == "ritz") == pytest.approx(spectrum[-1], rel=1e-6)
    assert min(row.value for row in found if row.quantity == "ritz") == pytest.approx(spectrum[0], rel=1e-4)
    rest = np.array([row.value for row in found if row.quantity == "residual"])
    trace = next(row.value for row in found if row.quantity == "sketch") + rest.mean()
    assert abs(trace - spectrum.sum()) < 4 * rest.std(ddof=1) / np.sqrt(len(rest))
    assert trace == pytest.approx(spectrum.sum(), rel=0.05)


def test_what_does_not_converge_is_marked_and_has_no_value() -> None:
    found = rows(Hessian(max_products=6, tolerance=1e-12), subject("transformer", images=16))
    assert not any(row.converged for row in found)
    assert all(row.eigenvalue is None and row.note.startswith("not converged after 6 products: about") for row in found)


def test_a_loss_that_is_not_finite_is_reported_where_it_arises() -> None:
    given = subject("convolutional")
    sample = given.samples["train"]
    assert isinstance(sample, Images)
    sample.images[20] = float("inf")
    measured = Hessian().measure(given, ["0000-0002"])
    with pytest.raises(VisionscopeError, match="NLL of mini-batch 1 is"):
        list(measured)


def test_parts_and_images() -> None:
    assert Hessian().images(5000) == 32 * 16
    assert Hessian().images(100) == 6 * 16
    assert Hessian(fraction=0.1).images(50_000) == 312 * 16
    assert Hessian(fraction=0.5).images(50_000) == 600 * 16
    given = subject("transformer", images=20 * 16)
    assert list(Hessian().parts(given)) == [f"{number:04d}-{number + 1:04d}" for number in range(20)]
    with pytest.raises(DataError, match="needs at least 16 images, one mini-batch; the data have 9"):
        Hessian().images(9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": 0}, r"hessian\.k: must be an integer from 1 to 1000; got 0"),
        ({"fraction": 1.5}, r"hessian\.fraction: must be a number above 0 and at most 1; got 1\.5"),
        ({"scopes": "modle"}, r"hessian.scopes: must be among .*; got 'modle'. Did you mean 'model'"),
        ({"tolerance": 0.0}, r"hessian\.tolerance: must be a number above 0 and below 1; got 0\.0"),
        ({"max_products": 3}, r"hessian.max_products: must be at least k = 5; got 3"),
        ({"batch_norm": "none"}, r"hessian\.batch_norm: must be one of eval, train; got 'none'"),
    ],
)
def test_rules(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Hessian(**fields)
