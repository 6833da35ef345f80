"""Eigenvalues of the Hessians of mini-batches, scope by scope."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from visionscope.core.diagnostic import Cost
from visionscope.core.inputs import image_like
from visionscope.core.objective import Objective
from visionscope.core.sample import MINI_BATCH, Batch
from visionscope.core.subject import Scope, Subject, objective_of
from visionscope.curvature.hvp import Product
from visionscope.curvature.lanczos import Extremes, largest
from visionscope.curvature.parameters import MeasuredParameters, check_differentiable, measured_parameters
from visionscope.curvature.sample_hessian import hessian_of, product_bytes, seed_of, vector_bytes
from visionscope.curvature.second_order import check_passes, check_symmetry, explain, twice_differentiable
from visionscope.diagnostics.hessian.question import Hessian, HessianRow
from visionscope.errors import ConfigError, VisionscopeError

_USUAL_PASSES = 200  # forward passes of an image that its share of a usual mini-batch costs, each scope


def identity_in(asked: Hessian, subject: Subject) -> list[str]:
    """Which parameters are frozen, and whether they are left out."""
    return _measured(asked, subject).identity()


def parts(asked: Hessian, subject: Subject) -> Sequence[str]:
    """One mini-batch each, so that a stop loses little; named by its number and the next one."""
    check_differentiable(subject, asked.name, _measured(asked, subject))
    count = len(subject.samples[asked.sample]) // MINI_BATCH
    return [f"{number:04d}-{number + 1:04d}" for number in range(count)]


def cost(asked: Hessian, subject: Subject) -> Cost:
    """About 200 forward passes per image and scope; one retained graph, and one vector per product."""
    measured = _measured(asked, subject)
    scopes = len(_scopes(asked, subject, measured))
    objective = objective_of(subject, asked.name)
    needed = product_bytes(subject, asked.sample, objective, asked.batch_norm, measured.names)
    vectors = asked.max_products * vector_bytes(subject.model, measured.names)
    return Cost(
        passes=_USUAL_PASSES * scopes * MINI_BATCH,
        memory=needed + vectors,
        advice=f"take fewer products (--hessian.max_products, now {asked.max_products}), smaller images, or a GPU",
    )


def measure(asked: Hessian, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[HessianRow]]]:
    """The eigenvalues of each part's mini-batches, after two passes over the first have agreed."""
    measured = _measured(asked, subject)
    check_differentiable(subject, asked.name, measured)
    scopes = _scopes(asked, subject, measured)
    sample = subject.samples[asked.sample]
    check_passes(subject.model, sample, asked.batch_norm, second_derivatives=True, parameters=measured.names)
    for number, part in enumerate(parts):
        first, stop = map(int, part.split("-"))
        rows: list[HessianRow] = []
        batches = sample.batches(first * MINI_BATCH, stop * MINI_BATCH, MINI_BATCH)
        for mini_batch, batch in enumerate(batches, start=first):
            checked = number > 0 or mini_batch > first
            rows.extend(_mini_batch(asked, subject, measured, scopes, mini_batch, batch, checked=checked))
        yield part, rows


def _measured(asked: Hessian, subject: Subject) -> MeasuredParameters:
    return measured_parameters(subject, asked.name, asked.parameters)


def _scopes(asked: Hessian, subject: Subject, measured: MeasuredParameters) -> list[Scope]:
    found = [scope for scope in subject.scopes() if scope.level in asked.levels]
    own = set(measured.names)
    found = [scope for scope in found if own.intersection(scope.parameters)]
    missing = [level for level in asked.levels if level not in {scope.level for scope in found}]
    if missing:
        left = " that has trainable parameters" if measured.which == "trainable" else ""
        raise ConfigError(f"hessian.scopes: no {missing[0]}{left} was found in {subject.label}; take model")
    return found


def _mini_batch(
    asked: Hessian,
    subject: Subject,
    measured: MeasuredParameters,
    scopes: Sequence[Scope],
    mini_batch: int,
    batch: Batch,
    *,
    checked: bool,
) -> Iterator[HessianRow]:
    model, objective = subject.model, objective_of(subject, asked.name)
    with twice_differentiable(model, asked.batch_norm, measured.names):
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
                check_symmetry(hessian.block(range(len(parameters))), parameters, asked.seed)
            places = {name: place for place, name in enumerate(named)}
            for scope in scopes:
                own = {name: named[name] for name in scope.parameters if name in named}
                chosen = [places[name] for name in own]
                product, shift = _with_decay(hessian.block(chosen), objective, own)
                found = largest(
                    product,
                    torch.cat([value.detach().reshape(-1) for value in own.values()]),
                    asked.k,
                    tolerance=asked.tolerance,
                    max_steps=asked.max_products,
                    seed=seed_of(asked.seed, mini_batch, scope.name),
                    shift=shift,
                )
                sizes = {
                    "parameters": sum(value.numel() for value in own.values()),
                    "measured": measured.which,
                    "frozen": measured.frozen_of(scope.parameters),
                    "unused": sum(parameters[place].numel() for place in chosen if place in hessian.unreached),
                }
                yield from _rows(asked, subject, scope, sizes, (mini_batch, batch, nll), found)
        except RuntimeError as error:
            raise explain(model, images, error) from error


def _rows(
    asked: Hessian,
    subject: Subject,
    scope: Scope,
    sizes: Mapping[str, Any],
    seen: tuple[int, Batch, float],
    found: Extremes,
) -> Iterator[HessianRow]:
    objective = objective_of(subject, asked.name)
    mini_batch, batch, nll = seen
    for place, value in enumerate(found.values.tolist()):
        residual = float(found.residuals[place]) / abs(value) if value else None
        converged = bool(found.converged[place])
        note = "" if converged else f"not converged after {found.products} products: about {value:.4g}"
        if converged and abs(value - objective.weight_decay) <= asked.tolerance * objective.weight_decay:
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
            batch_norm=asked.batch_norm,
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
