"""The Hessian's eigenvalues of largest magnitude, mini-batch by mini-batch (Park & Kim 2022, Fig. 1c, 4, 6 and 7b)."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa
import torch

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure
from visionscope.core.inputs import image_like
from visionscope.core.objective import Objective
from visionscope.core.rules import MOST_IMAGES, check_rules, rule, seed_rule
from visionscope.core.sample import MINI_BATCH, Batch
from visionscope.core.subject import Point, Scope, Subject
from visionscope.core.table import column
from visionscope.curvature.hvp import Product
from visionscope.curvature.lanczos import Extremes, largest
from visionscope.curvature.second_order import (
    check_passes,
    check_symmetry,
    explain,
    twice_differentiable,
)
from visionscope.diagnostics import _spectra
from visionscope.diagnostics._curvature import (
    Measured,
    check_differentiable,
    hessian_of,
    measured_parameters,
    objective_of,
    product_bytes,
    seed_of,
    vector_bytes,
)
from visionscope.errors import ConfigError, DataError, VisionscopeError, nearest

PART = 8  # mini-batches
LEVELS = ("model", "stage", "block", "kind")
_MOST = 600
_USUAL_PASSES = 200  # forward passes of an image that its share of a usual mini-batch costs, each scope


@dataclasses.dataclass(frozen=True)
class HessianRow:
    """One eigenvalue of one mini-batch's Hessian, of the whole model or of a diagonal block."""

    scope: str = column("which parameters")
    level: str = column("model, stage, block or kind")
    parameters: int = column("how many numbers they are")
    measured: str = column("trainable: frozen numbers are left out; all: they are among them")
    frozen: int = column("frozen numbers of the scope: left out, or among `parameters`")
    unused: int = column("numbers that the loss does not depend on: their curvature is the weight decay alone")
    mini_batch: int = column("number of the mini-batch in the sample")
    images: int = column("images in the mini-batch")
    rank: int = column("1 for the largest magnitude")
    eigenvalue: float | None = column("of the Hessian of NLL + (weight_decay / 2) |w|²", "nat per squared weight")
    residual: float | None = column("|H v - eigenvalue v| / |eigenvalue| of the unit eigenvector found")
    converged: bool = column("whether the eigenvalue meets the tolerance")
    products: int = column("Hessian-vector products that the mini-batch took in this scope")
    nll: float = column("mean cross-entropy of the mini-batch", "nat")
    augmentation: str = column("how the images were changed: strong, weak or none")
    batch_norm: str = column("eval: running statistics; train: those of the mini-batch")
    weight_decay: float = column("factor of the L2 term", "nat per squared weight")
    label_smoothing: float = column("share of each target spread over all classes")
    note: str = column("why there is no value, or what it is")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hessian:
    """Hessian max-eigenvalue spectrum: per mini-batch of 16 the k eigenvalues of largest magnitude, with sign.

    Of `L(w) = NLL + (weight_decay / 2) |w|²`, on frozen augmented training images, dropout and drop path off. The paper
    took PyHessian's power iteration, which stops when two estimates agree and gets pairs of nearly equal magnitude and
    opposite sign wrong; here Lanczos with full reorthogonalization goes on until an error bound from the residual meets
    the tolerance. Weight decay is an exact shift, added before the k are chosen, where it acts on all parameters in
    scope.

    Attributes:
        k: eigenvalues per mini-batch.
        mini_batches: how many mini-batches of 16 images.
        fraction: share of the sample instead, 600 mini-batches at most; 0.1 is the paper's.
        scopes: levels by comma: model, stage, block, kind; the Hessian's diagonal blocks of these parameters.
        parameters: trainable or all; by default the trainable ones where some are frozen, else all. Scopes of which
            nothing is left are left out.
        tolerance: largest error of an eigenvalue, relative to its magnitude.
        max_products: Hessian-vector products per mini-batch at most; what has not converged then has no value.
        batch_norm: eval keeps the running statistics; train takes those of the mini-batch.
        seed: of the start vectors.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "hessian"
    version: ClassVar[int] = 2
    row: ClassVar[type] = HessianRow
    sample: ClassVar[str] = "train"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64")

    k: int = rule(5, least=1, most=1000)
    mini_batches: int = rule(32, least=1, most=MOST_IMAGES // MINI_BATCH)
    fraction: float | None = rule(None, above=0, most=1)
    scopes: str = rule("model", empty=False, longest=100)
    parameters: Literal["trainable", "all"] | None = None
    tolerance: float = rule(1e-4, above=0, below=1)
    max_products: int = rule(100, least=1, most=100_000)
    batch_norm: Literal["eval", "train"] = "eval"
    seed: int = seed_rule()

    def __post_init__(self) -> None:
        check_rules(self, self.name)
        if self.max_products < self.k:
            raise ConfigError(f"hessian.max_products: must be at least k = {self.k}; got {self.max_products}")
        for level in self.levels:
            if level not in LEVELS:
                listed = ", ".join(LEVELS)
                raise ConfigError(f"hessian.scopes: must be among {listed}; got {level!r}.{nearest(level, LEVELS)}")

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that `scopes` names."""
        return tuple(level.strip() for level in self.scopes.split(","))

    def images(self, available: int) -> int:
        """Whole mini-batches: as many as asked, or as there are.

        Args:
            available: images in the sample.

        Raises:
            DataError: when they don't fill one mini-batch.
        """
        most = available // MINI_BATCH
        if not most:
            raise DataError(f"hessian: needs at least {MINI_BATCH} images, one mini-batch; the data have {available}")
        wanted = self.mini_batches
        if self.fraction is not None:
            wanted = min(_MOST, max(1, round(self.fraction * available / MINI_BATCH)))
        return min(wanted, most) * MINI_BATCH

    def identity(self) -> dict[str, Any]:
        """The fields, without the choice of parameters: `identity_in` tells what it comes to."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "parameters"}

    def identity_in(self, subject: Subject) -> list[str]:
        """What the numbers depend on beside the weights: which parameters are frozen, and whether they are left out.

        Args:
            subject: any.
        """
        return self._measured(subject).identity()

    def parts(self, subject: Subject) -> Sequence[str]:
        """Eight mini-batches each, named by the first and the one after the last.

        Args:
            subject: with its sample `train`.

        Raises:
            NotApplicableError: for parameters by which there are no second derivatives.
        """
        check_differentiable(subject, self.name, self._measured(subject))
        count = len(subject.samples[self.sample]) // MINI_BATCH
        return [f"{first:04d}-{min(first + PART, count):04d}" for first in range(0, count, PART)]

    def is_whole(self, part: str, rows: Sequence[HessianRow], points: Sequence[Point]) -> bool:
        """Whether stored rows are of a part's mini-batches, all of them.

        Args:
            part: a name from `parts`.
            rows: as they were stored.
            points: of the model.
        """
        first, last = map(int, part.split("-"))
        return {row.mini_batch for row in rows} == set(range(first, last))

    def cost(self, subject: Subject) -> Cost:
        """About 200 forward passes per image and scope; one retained graph, and one vector per product.

        Args:
            subject: with its sample and objective.
        """
        measured = self._measured(subject)
        scopes = len(self._scopes(subject, measured))
        objective = objective_of(subject, self.name)
        needed = product_bytes(subject, self.sample, objective, self.batch_norm, measured.names)
        vectors = self.max_products * vector_bytes(subject.model, measured.names)
        return Cost(
            passes=_USUAL_PASSES * scopes * min(PART * MINI_BATCH, len(subject.samples[self.sample])),
            memory=needed + vectors,
            advice=f"take fewer products (--hessian.max_products, now {self.max_products}), smaller images, or a GPU",
        )

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[HessianRow]]]:
        """The eigenvalues of each part's mini-batches.

        Args:
            subject: with its sample `train` and its objective.
            parts: names from `parts`.

        Raises:
            NondeterminismError: when two passes over a mini-batch differ.
            VisionscopeError: when the model can't be differentiated twice, naming module and operation, or a loss or
                product is not finite, or depends on parameters that no gradient reaches.
        """
        measured = self._measured(subject)
        check_differentiable(subject, self.name, measured)
        scopes = self._scopes(subject, measured)
        sample = subject.samples[self.sample]
        check_passes(subject.model, sample, self.batch_norm, second_derivatives=True, parameters=measured.names)
        for number, part in enumerate(parts):
            first, stop = map(int, part.split("-"))
            rows: list[HessianRow] = []
            batches = sample.batches(first * MINI_BATCH, stop * MINI_BATCH, MINI_BATCH)
            for mini_batch, batch in enumerate(batches, start=first):
                checked = number > 0 or mini_batch > first
                rows.extend(self._mini_batch(subject, measured, scopes, mini_batch, batch, checked=checked))
            yield part, rows

    def summary(self, table: pa.Table) -> pa.Table:
        """NEP, APE and quartiles per model and scope; see `HessianSummaryRow`.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        return _spectra.summary(table)

    def figure(self, table: pa.Table) -> Figure:
        """Densities of the eigenvalues, negative and positive apart as in the paper, and on one axis.

        Args:
            table: rows of one or more models, with the column `model`.
        """
        return _spectra.figure(table)

    def _measured(self, subject: Subject) -> Measured:
        return measured_parameters(subject, self.name, self.parameters)

    def _scopes(self, subject: Subject, measured: Measured) -> list[Scope]:
        found = [scope for scope in subject.scopes() if scope.level in self.levels]
        own = set(measured.names)
        found = [scope for scope in found if own.intersection(scope.parameters)]
        missing = [level for level in self.levels if level not in {scope.level for scope in found}]
        if missing:
            left = " that has trainable parameters" if measured.which == "trainable" else ""
            raise ConfigError(f"hessian.scopes: no {missing[0]}{left} was found in {subject.label}; take model")
        return found

    def _mini_batch(
        self,
        subject: Subject,
        measured: Measured,
        scopes: Sequence[Scope],
        mini_batch: int,
        batch: Batch,
        *,
        checked: bool,
    ) -> Iterator[HessianRow]:
        model, objective = subject.model, objective_of(subject, self.name)
        with twice_differentiable(model, self.batch_norm, measured.names):
            everything = dict(model.named_parameters())
            named = {name: everything[name] for name in measured.names}
            parameters = list(named.values())
            images = batch.images.to(image_like(model, batch.images.shape[1:]))
            try:
                loss = objective.mean_nll(subject.readout.after(model), batch, images)
                nll = float(loss.detach())
                if not abs(nll) < float("inf"):
                    raise VisionscopeError(f"hessian: the NLL of mini-batch {mini_batch} is {nll}")
                hessian = hessian_of(subject, loss, named, images)
                if not checked:
                    check_symmetry(hessian.block(range(len(parameters))), parameters, self.seed)
                places = {name: place for place, name in enumerate(named)}
                for scope in scopes:
                    own = {name: named[name] for name in scope.parameters if name in named}
                    chosen = [places[name] for name in own]
                    product, shift = _with_decay(hessian.block(chosen), objective, own)
                    found = largest(
                        product,
                        torch.cat([value.detach().reshape(-1) for value in own.values()]),
                        self.k,
                        tolerance=self.tolerance,
                        max_steps=self.max_products,
                        seed=seed_of(self.seed, mini_batch, scope.name),
                        shift=shift,
                    )
                    sizes = {
                        "parameters": sum(value.numel() for value in own.values()),
                        "measured": measured.which,
                        "frozen": measured.frozen_of(scope.parameters),
                        "unused": sum(parameters[place].numel() for place in chosen if place in hessian.unreached),
                    }
                    yield from self._rows(subject, scope, sizes, (mini_batch, batch, nll), found)
            except RuntimeError as error:
                raise explain(model, images, error) from error

    def _rows(
        self,
        subject: Subject,
        scope: Scope,
        sizes: Mapping[str, Any],
        seen: tuple[int, Batch, float],
        found: Extremes,
    ) -> Iterator[HessianRow]:
        objective = objective_of(subject, self.name)
        mini_batch, batch, nll = seen
        for place, value in enumerate(found.values.tolist()):
            residual = float(found.residuals[place]) / abs(value) if value else None
            converged = bool(found.converged[place])
            note = "" if converged else f"not converged after {found.products} products: about {value:.4g}"
            if converged and abs(value - objective.weight_decay) <= self.tolerance * objective.weight_decay:
                note = "the NLL has no curvature there: what is left is the weight decay"
            yield HessianRow(
                scope=scope.name,
                level=scope.level,
                **sizes,
                mini_batch=mini_batch,
                images=len(batch.images),
                rank=place + 1,
                eigenvalue=value if converged else None,
                residual=residual,
                converged=converged,
                products=found.products,
                nll=nll,
                augmentation=subject.augmentation,
                batch_norm=self.batch_norm,
                weight_decay=objective.weight_decay,
                label_smoothing=objective.label_smoothing,
                note=note,
            )


def _with_decay(product: Product, objective: Objective, own: Mapping[str, torch.Tensor]) -> tuple[Product, float]:
    """The block with the L2 term's Hessian: as a shift where all parameters decay, else inside the product."""
    mask = {name: objective.decaying(name, value) for name, value in own.items()}
    if all(mask.values()):
        return product, objective.weight_decay
    decay = torch.cat([torch.full((own[name].numel(),), float(decays)) for name, decays in mask.items()])
    decay = decay.to(next(iter(own.values()))) * objective.weight_decay
    return lambda vector: product(vector) + decay * vector, 0.0
