"""Claims of the paper over networks that others trained: which kind of network each is about, and its numbers.

A number is the claim's own, with the network in the place of the claim's variants: no formula stands here twice.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from visionscope.claims.claim import Claim
from visionscope.claims.one_seed import OneSeed
from visionscope.claims.paper import cka_blocks, noise
from visionscope.claims.registry import claim
from visionscope.errors import ConfigError, nearest

NETWORK = "network"
"""The variant that a network is in numbers of kinds that are compared."""


@dataclasses.dataclass(frozen=True)
class Structure:
    """What a network is made of.

    Attributes:
        kinds: of its branches: `msa`, `mlp`, `conv`, ...
        stages: how many it has.
    """

    kinds: frozenset[str]
    stages: int

    @property
    def attends(self) -> bool:
        """Whether it has branches of attention and MLPs."""
        return {"msa", "mlp"} <= self.kinds

    @property
    def convolves(self) -> bool:
        """Whether it has branches of convolutions."""
        return "conv" in self.kinds


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of network.

    Attributes:
        words: how tables and figures call it.
        holds: whether a network is of it.
    """

    words: str
    holds: Callable[[Structure], bool]


ANY = Kind("all networks", lambda one: True)
ATTENTION = Kind("with attention and MLPs", lambda one: one.attends)
CONVOLUTION = Kind("with convolutions", lambda one: one.convolves)
ATTENTION_ALONE = Kind("attention without convolutions", lambda one: one.attends and not one.convolves)
CONVOLUTION_ALONE = Kind("convolutions without attention", lambda one: one.convolves and "msa" not in one.kinds)
STAGES = Kind("several stages", lambda one: one.stages > 1)
ONE_STAGE = Kind("attention in one stage", lambda one: one.attends and one.stages == 1)
ATTENTION_STAGES = Kind("attention and MLPs in several stages", lambda one: one.attends and one.stages > 1)
CONVOLUTION_STAGES = Kind(
    "convolutions without attention, in several stages",
    lambda one: CONVOLUTION_ALONE.holds(one) and one.stages > 1,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkClaim:
    """What is claimed of a kind of networks, or of one kind compared with another.

    Attributes:
        claim: of the paper: its direction, unit, smallest effect and published value hold here, too.
        text: the claim, in a few words.
        kind: of the networks that it is about.
        against: the kind that they are compared with; None where there is no comparison.
        halves: one network's numbers: the claim's own alone, or one for each half of a comparison, each larger in
            `kind` where the claim holds.
        variants: names that the network has in the tables that `halves` reads.
        meaning: what the numbers are, in one sentence.
    """

    claim: Claim
    text: str
    kind: Kind
    against: Kind | None = None
    halves: tuple[Callable[[OneSeed], float], ...]
    variants: tuple[str, ...]
    meaning: str

    @property
    def name(self) -> str:
        """Of the claim."""
        return self.claim.name

    @property
    def over(self) -> str:
        """The kinds of networks, in words."""
        return self.kind.words if self.against is None else f"{self.kind.words}, compared with {self.against.words}"


@functools.cache
def network_claims() -> tuple[NetworkClaim, ...]:
    """All of them, in the order of the paper's claims; each is exploratory."""
    return tuple(
        sorted((*_of_one_kind(), _cka_blocks(), _noise()), key=lambda one: one.claim.number),
    )


def network_claim(name: str) -> NetworkClaim:
    """A claim over networks by its name.

    Args:
        name: of the paper's claim.

    Raises:
        ConfigError: when there is no such claim over networks, naming the nearest one.
    """
    by_name = {one.name: one for one in network_claims()}
    if name not in by_name:
        raise ConfigError(f"claims: there is no claim {name!r} over networks.{nearest(str(name), by_name)}")
    return by_name[name]


def _of_one_kind() -> tuple[NetworkClaim, ...]:
    texts = {
        "vit_fourier": (
            "In later blocks of attention networks attention lowers high frequencies and MLPs raise them",
            ATTENTION,
        ),
        "vit_variance": (
            "In later blocks of attention networks attention lowers the feature-map variance and MLPs raise it",
            ATTENTION,
        ),
        "conv_fourier": ("In later blocks convolutions raise high frequencies", CONVOLUTION),
        "conv_variance": ("In later blocks convolutions raise the feature-map variance", CONVOLUTION),
        "variance_peaks": (
            "In convolutional networks the feature-map variance peaks at the ends of stages",
            CONVOLUTION_STAGES,
        ),
        "early_removals": ("", ANY),
        "attention_late": ("", ATTENTION_STAGES),
    }
    return tuple(_same(claim(name), text, kind) for name, (text, kind) in texts.items())


def _same(paper: Claim, text: str, kind: Kind) -> NetworkClaim:
    """A claim whose number is of one network: it stands for all its variants, of which the number is a mean."""
    return NetworkClaim(
        claim=paper,
        text=text or paper.text,
        kind=kind,
        halves=(paper.number_of,),
        variants=paper.variants,
        meaning="the claim's number, of one network",
    )


def _cka_blocks() -> NetworkClaim:
    def blocks(one: OneSeed) -> float:
        stages = {stage for stage in one.rows("similarity", NETWORK)["stage_x"] if stage > 0}
        return cka_blocks.structure(one, NETWORK, thirds=len(stages) == 1)

    return NetworkClaim(
        claim=claim("cka_blocks"),
        text="Similarity forms blocks in multi-stage networks and not in single-stage attention networks",
        kind=STAGES,
        against=ONE_STAGE,
        halves=(blocks,),
        variants=(NETWORK,),
        meaning="mean CKA of points of one stage less that across stages, or across thirds of depth of one stage",
    )


def _noise() -> NetworkClaim:
    return NetworkClaim(
        claim=claim("noise"),
        text="High-frequency noise harms convolutional networks more, low-frequency noise attention networks",
        kind=CONVOLUTION_ALONE,
        against=ATTENTION_ALONE,
        halves=(
            lambda one: noise.lost(one, NETWORK, noise.HIGH)[0],
            lambda one: -noise.lost(one, NETWORK, noise.LOW)[0],
        ),
        variants=(NETWORK,),
        meaning="what noise of 0.7 to 0.9 π costs, and less what noise of 0.1 to 0.3 π costs, in percent of the "
        "accuracy above chance, under noise of equal energy in pixels",
    )
