"""Which panels each of the paper's figures has, and the figure that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from visionscope.claims.one_seed import WARMUP, Tables
from visionscope.claims.published import figure as published
from visionscope.core.figure import Figure, Panel
from visionscope.experiments.catalogue import PaperFigure, figure_named
from visionscope.experiments.figures.depth import high_frequencies, lesions, profiles, variances
from visionscope.experiments.figures.maps import landscapes, similarities
from visionscope.experiments.figures.networks import (
    accuracy_and_robustness,
    along,
    error_and_loss,
    over_networks,
    published_pairs,
)
from visionscope.experiments.figures.over_seeds import rows_of
from visionscope.experiments.figures.spectra import densities, negative_shares, over_sizes
from visionscope.experiments.figures.trust import confidence, noise, reliability

_SERIES = ("resnet", "vit", "pit", "swin")
_FRACTIONS = {"1/16": "_sixteenth", "1/8": "_eighth", "1/4": "_quarter", "1/2": "_half", "1": ""}
_HEADS = {"vit_heads_1": 1, "vit_heads_2": 2, "vit": 3, "vit_shallow": 3, "vit_heads_6": 6, "vit_heads_9": 9}
_DIMS = {
    **{"vit_dim_8": 8, "vit": 16, "vit_large": 32},
    **{"vit_dim_24": 24, "vit_dim_48": 48, "vit_shallow": 64, "vit_dim_96": 96, "vit_dim_192": 192},
}
_KERNELS = ("convvit_3", "convvit_5", "convvit_global")
_PATCHES = {"vit_patch_2": "2 px", "vit": "4 px"}


def paper_figure(name: str, tables: Tables, scale: str) -> Figure | None:
    """One of the paper's figures with our numbers beside the published ones.

    Args:
        name: any of its ids.
        tables: of an experiment; what is not there is not drawn.
        scale: of our networks and data, in a few words; it stands in the title.

    Returns:
        None where the tables have nothing of it.
    """
    found = figure_named(name)
    panels = tuple(_PANELS[found.name](tables))
    if not any(_is_ours(panel) for panel in panels):
        return None
    return Figure(
        name=f"figure_{found.name.replace('.', '_')}",
        title=f"{found.title}: {found.shows} (ours: {scale})",
        caption=_caption(found),
        panels=panels,
    )


def _is_ours(panel: Panel) -> bool:
    return "paper" not in panel.title


def _caption(figure: PaperFigure) -> str:
    said = [
        f"After {figure.title} of Park & Kim (2022). Ours are means over seeds with Student's 95 % interval, single "
        "seeds thin. Published values were read off the paper's vector figures; its networks, data and training are "
        "larger, so that sizes are not comparable, and directions are.",
        _REMARKS.get(figure.name, ""),
    ]
    return " ".join(filter(None, said))


_REMARKS = {
    "1a": "Landscapes are those of the first seed, the NLL alone: the paper's surface has the L2 term in it, which "
    "dominates it. The larger networks of the laptop scale are trained to the end of the warm-up alone.",
    "2b": "Ours is noise of equal energy in every band; the paper's grows with the frequency.",
    "12b": "Corruptions made on the fly harm images of 32 px more than the published sets do.",
    "F.1": "Points below the diagonal are over-confident. Bins of confidence are of equal width; those without images "
    "are left out. The paper's strongly augmented ViT was not read off.",
    "10b": "The paper removes a ResNet's 3x3 convolutions, here it is whole branches.",
}


def _of_1a(tables: Tables) -> Iterator[Panel]:
    yield from landscapes(tables, _SERIES)
    large = ("resnet", "resnet_large", "vit", "vit_large")
    if len(rows_of(tables, "hessian", "resnet_large", WARMUP)):
        yield from chain(densities(tables, large), negative_shares(tables, large))


def _of_1c(tables: Tables) -> Iterator[Panel]:
    variants = ("resnet", "vit", "vit_sixteenth", "pit", "swin")
    return chain(densities(tables, variants), negative_shares(tables, variants))


def _of_2a(tables: Tables) -> Iterator[Panel]:
    return chain(high_frequencies(tables, _SERIES), profiles(tables, _SERIES))


def _of_5a(tables: Tables) -> Iterator[Panel]:
    order = ("resnext", "resnet", "preresnet", "alternet", "swin", "pit", "convvit_3", "vit", "mixer")
    return over_networks(tables, order)


def _of_5b(tables: Tables) -> Iterator[Panel]:
    curves = {
        network: {tick: f"{network}{ending}" for tick, ending in _FRACTIONS.items()} for network in ("resnet", "vit")
    }
    read = published("fig5b_vit_ti_cifar100_dataset_size")
    ticks = [f"1/{round(1 / share)}" if share < 1 else "1" for share in read["fraction"]]
    return along(tables, curves, "share of the training images", [("ViT-Ti", read, ticks)])


def _of_6(tables: Tables) -> Iterator[Panel]:
    variants, names = ("vit", "vit_gap"), {"vit": "class token", "vit_gap": "average pooling"}
    spectra = chain(densities(tables, variants), negative_shares(tables, variants, names))
    return chain(spectra, error_and_loss(tables, variants, names=names))


def _of_7(tables: Tables) -> Iterator[Panel]:
    told = published("fig7a_convvit_kernel")
    pairs = {name: (told["error"][place], told["nll_train"][place]) for place, name in enumerate(_KERNELS)}
    names = dict(zip(_KERNELS, ("3x3", "5x5", "global"), strict=True))
    errors = error_and_loss(tables, _KERNELS, names=names, told=pairs, of="paper, CIFAR-100")
    return chain(errors, densities(tables, _KERNELS), negative_shares(tables, _KERNELS, names))


def _of_12c(tables: Tables) -> Iterator[Panel]:
    variants = ("preresnet", "alternet")
    return chain(densities(tables, variants), negative_shares(tables, variants))


def _of_c2(tables: Tables) -> Iterator[Panel]:
    trained = tables.get("training")
    found = {} if trained is None else trained.groupby("variant")["epoch"].first().to_dict()
    epochs = {str(name): round(count) for name, count in found.items()}
    curves: dict[str, dict[str, str]] = {}
    for network in ("resnet", "vit"):
        own = {name: count for name, count in epochs.items() if name == network or name.startswith(f"{network}_epochs")}
        curves[network] = {str(count): name for name, count in sorted(own.items(), key=lambda item: item[1])}
    read = published("figC2_epochs")
    ticks = list(map(str, read["epochs"]))
    return along(tables, curves, "epochs", [(name, read[name], ticks) for name in ("ResNet", "ViT")])


def _of_c3(tables: Tables) -> Iterator[Panel]:
    cifar = "vit_patch_8" in set(tables["training"]["variant"]) if "training" in tables else False
    names = {"vit": "2 px", "vit_patch_4": "4 px", "vit_patch_8": "8 px"} if cifar else _PATCHES
    places = {"2 px": 0, "4 px": 1, "8 px": 2}
    pairs = published_pairs("figC3a_vit_patch", {name: places[size] for name, size in names.items()})
    errors = error_and_loss(tables, tuple(names), names=names, told=pairs, of="paper, CIFAR-100")
    return chain(errors, densities(tables, tuple(names)), negative_shares(tables, tuple(names), names))


def _of_c5(tables: Tables) -> Iterator[Panel]:
    heads = _known(tables, _HEADS)
    sized = over_sizes(tables, heads, "heads", "figC5a_heads", "heads")
    return chain(sized, densities(tables, tuple(heads)))


def _of_c6(tables: Tables) -> Iterator[Panel]:
    dims = _known(tables, _DIMS)
    sized = over_sizes(tables, dims, "channels of a head", "figC6a_embed_per_head", "dim")
    return chain(sized, densities(tables, tuple(dims)))


def _known(tables: Tables, sizes: Mapping[str, int]) -> dict[str, float]:
    """The sizes of the variants that are there; the network of half depth stands for `vit` where there is one."""
    there = set(tables["hessian_summary"]["variant"]) if "hessian_summary" in tables else set()
    if "vit_shallow" in there:
        there -= {"vit", "vit_large"}
    return {name: float(size) for name, size in sizes.items() if name in there}


def _of_f1(tables: Tables) -> Iterator[Panel]:
    there = set(tables["training"]["variant"]) if "training" in tables else set()
    weak = ("resnet", "resnet_weak", "vit", "vit_weak")
    variants = weak if "resnet_weak" in there else ("resnet_strong", "resnet", "vit_strong", "vit")
    spectra = chain(densities(tables, variants), negative_shares(tables, variants))
    return chain(reliability(tables, variants), confidence(tables, variants), spectra)


_PANELS: Mapping[str, Callable[[Tables], Iterator[Panel]]] = {
    "1a": _of_1a,
    "1c": _of_1c,
    "2a": _of_2a,
    "2b": lambda tables: noise(tables, ("resnet", "vit")),
    "5a": _of_5a,
    "5b": _of_5b,
    "6": _of_6,
    "7": _of_7,
    "9": lambda tables: variances(tables, _SERIES),
    "10a": lambda tables: similarities(tables, _SERIES),
    "10b": lambda tables: lesions(tables, _SERIES),
    "12b": lambda tables: accuracy_and_robustness(
        tables,
        ("vit", "pit", "swin", "mixer", "resnext", "resnet", "preresnet", "cnn_parameters", "cnn_macs", "alternet"),
    ),
    "12c": _of_12c,
    "C.2": _of_c2,
    "C.3": _of_c3,
    "C.5": _of_c5,
    "C.6": _of_c6,
    "F.1": _of_f1,
}
