"""Tokens, token similarity and attention, in units of a bare forward pass, beside plain scripts that hook and keep.

The scripts are what is posted for such questions: keep every map, then norms with medians, the whole cosine matrix and
singular values image by image; write attention out, keep it, and reduce it at the end. F is one fp32 forward pass of
the same 16 images in the same process and round; weights are random. About four minutes on one core.
"""

import functools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from benchmarks.feature_maps import BATCH, setting
from benchmarks.measure import Measurement, cpu_seconds, ratios
from visionscope.core.diagnostic import ObservingDiagnostic
from visionscope.core.inputs import image_like
from visionscope.core.sample import Batch, InputConfig
from visionscope.core.subject import Subject
from visionscope.diagnostics.attention.reading import Reading
from visionscope.diagnostics.token_similarity.question import TokenSimilarity
from visionscope.diagnostics.tokens.question import TokenNorms
from visionscope.running.execute import observe
from visionscope.tracing import Trace, watch
from visionscope.tracing.attention import Attention, find_attention

MODELS = ("resnet50", "vit_tiny_patch16_224")
ROUNDS = 2


class _Images:
    """One batch as a sample."""

    digest = ""

    def __init__(self, images: Tensor) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        yield Batch(self._images[start:stop], None, torch.arange(start, stop))


def run() -> list[Measurement]:
    return [row for name in MODELS for row in (*_cost(name), *_agreement(name))]


def _subject(name: str) -> tuple[Subject, Tensor, Trace]:
    model, images, found = setting(name)
    return (
        Subject(
            label=name,
            model=model,
            points=found.points,
            watch=functools.partial(watch, model, found),
            samples={"eval": _Images(images)},
            input=InputConfig(size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3),
            trace=found,
        ),
        images,
        found,
    )


def _observed(subject: Subject, *asked: ObservingDiagnostic) -> list[list[object]]:
    observers = {one.name: one.observer(subject.points) for one in asked}
    errors = observe(subject, observers, (0, BATCH), batch=BATCH)
    assert not errors, errors
    return [list(observer.rows()) for observer in observers.values()]


def _attended(subject: Subject, attentions: Sequence[Attention]) -> list[object]:
    return list(Reading(subject, "eval", attentions, f"0000-{BATCH:04d}").rows()) if attentions else []


def _attentions(name: str, subject: Subject, images: Tensor, found: Trace) -> tuple[Attention, ...]:
    return find_attention(subject.model, found, images) if name.startswith("vit") else ()


def _cost(name: str) -> list[Measurement]:
    subject, images, found = _subject(name)
    attentions = _attentions(name, subject, images, found)
    like = image_like(subject.model, images.shape[1:])
    with torch.inference_mode():
        functions = {
            "F": lambda: subject.model(images.to(like)),
            "tokens": lambda: _observed(subject, TokenNorms()),
            "token_similarity": lambda: _observed(subject, TokenSimilarity()),
            "both": lambda: _observed(subject, TokenNorms(), TokenSimilarity()),
            "tokens by hooks": lambda: _norms_by_hooks(subject.model, images, found),
            "token_similarity by hooks": lambda: _likeness_by_hooks(subject.model, images, found),
        }
        if attentions:
            functions |= {
                "attention": lambda: _attended(subject, attentions),
                "attention by hooks": lambda: _attention_by_hooks(subject.model, images),
            }
        times = cpu_seconds(functions, ROUNDS)
    mine = ["both", *(["attention"] if attentions else [])]
    names = ["tokens", "token_similarity", *(["attention"] if attentions else [])]
    times["all"] = [sum(own) for own in zip(*(times[key] for key in mine), strict=True)]
    times["all by hooks"] = [sum(own) for own in zip(*(times[f"{key} by hooks"] for key in names), strict=True)]
    of = ratios(times, "F")
    where = f"{len(found.points)} points, F = {sorted(times['F'])[ROUNDS // 2]:.3g} s for {BATCH} images"

    def row(what: str, key: str, peer: str = "", note: str = "") -> Measurement:
        peers = {"hooks": of[peer][0]} if peer else {}
        value, spread = of[key]
        return Measurement(name=f"{name}: {what}", unit="F", value=value, spread=spread, peers=peers, note=note)

    rows = [row("together, passes included", "all", "all by hooks", where)]
    rows += [row(f"  {key}, with its pass", key, f"{key} by hooks") for key in names]
    return [*rows, row("  tokens and token_similarity of one pass", "both")]


def _agreement(name: str) -> list[Measurement]:
    """Our numbers and the scripts', whose arithmetic is in float64 on the same float32 maps."""
    subject, images, found = _subject(name)
    with torch.inference_mode():
        norms, likeness = _observed(subject, TokenNorms(), TokenSimilarity())
        shares = _norms_by_hooks(subject.model, images, found, torch.float64)
        alike = _likeness_by_hooks(subject.model, images, found, torch.float64)
        attentions = _attentions(name, subject, images, found)
        heads = [row for row in _attended(subject, attentions) if row.head is not None]
        bound = _attention_by_hooks(subject.model, images, torch.float64) if attentions else torch.empty(0, 2)
    ours = torch.tensor([[row.norm, row.outlier_share] for row in norms], dtype=torch.float64)
    own = [[row.cosine, row.mean_share, row.effective_rank] for row in likeness]
    differences = {
        "norms (relative)": (ours[:, 0] / shares[:, 0] - 1, 1e-5),
        "outlier shares": (ours[:, 1] - shares[:, 1], 1e-3),
        "cosine and mean share": (torch.tensor(own)[:, :2] - alike[:, :2], 1e-4),
        "effective rank (relative)": (torch.tensor(own)[:, 2] / alike[:, 2] - 1, 1e-3),
    }
    if heads:
        measured = torch.tensor([[row.mutual_information, row.sink_share] for row in heads])
        differences["mutual information and sink share"] = (measured - bound, 1e-4)
    return [
        Measurement(name=f"{name}: largest difference, {what}", unit="", value=float(one.abs().max()), goal=goal)
        for what, (one, goal) in differences.items()
    ]


def _kept(model: nn.Module, images: Tensor, found: Trace) -> list[Tensor]:
    kept: list[Tensor] = []
    with watch(model, found, lambda point, maps: kept.append(maps.flatten(2).mT.clone())):
        model(images)
    return kept


def _norms_by_hooks(model: nn.Module, images: Tensor, found: Trace, dtype: torch.dtype = torch.float32) -> Tensor:
    rows = []
    for tokens in _kept(model, images, found):
        norms = tokens.to(dtype).norm(dim=-1)
        median = norms.quantile(0.5, dim=1, keepdim=True)
        spread = (norms - median).abs().quantile(0.5, dim=1, keepdim=True)
        rows.append(torch.stack([norms.mean(), (norms > median + 5 * spread).to(dtype).mean()]))
    return torch.stack(rows).double()


def _likeness_by_hooks(model: nn.Module, images: Tensor, found: Trace, dtype: torch.dtype = torch.float32) -> Tensor:
    rows = []
    for kept in _kept(model, images, found):
        by_image = []
        for tokens in kept.to(dtype):
            count = len(tokens)
            units = nn.functional.normalize(tokens, dim=-1)
            cosine = ((units @ units.T).sum() - count) / (count * (count - 1))
            energies = torch.linalg.svdvals(tokens).square()
            shares = energies / energies.sum()
            mean = count * tokens.mean(0).square().sum() / energies.sum()
            by_image.append(torch.stack([cosine, mean, torch.special.entr(shares).sum().exp()]))
        rows.append(torch.stack(by_image).mean(0))
    return torch.stack(rows).double()


def _attention_by_hooks(model: nn.Module, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Mutual information and sink share, a row per block and head, of a timm ViT with a class token."""
    kept: list[Tensor] = []
    handles = []
    for block in model.blocks:
        block.attn.fused_attn = False
        handles.append(block.attn.attn_drop.register_forward_hook(lambda module, given, output: kept.append(output)))
    model(images)
    for block, handle in zip(model.blocks, handles, strict=True):
        block.attn.fused_attn = True
        handle.remove()
    rows = []
    for probabilities in kept:
        asked = probabilities[:, :, 1:].to(dtype)
        given = asked[..., 1:] / asked[..., 1:].sum(-1, keepdim=True)
        of_key = torch.special.entr(given.mean(2)).sum(-1)
        information = of_key - torch.special.entr(given).sum(-1).mean(2)
        shares = information / (math.log(given.shape[2]) * of_key).sqrt()
        rows.append(torch.stack([shares.mean(0), asked.mean(2).amax(-1).mean(0)], dim=1))
    return torch.cat(rows).double()
