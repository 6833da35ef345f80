"""The paper's figures that can be replicated: their ids, what they show, and where the study of each scale lies."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml

from visionscope.errors import ConfigError, nearest

ZOO = "zoo"
SCALES = ("laptop", "cifar", "imagenet", ZOO)
"""laptop: small networks, hours on a processor; cifar and imagenet: the paper's settings; zoo: trained by others."""

STUDIES = Path(__file__).parent / "studies"
"""One YAML file per scale and figure."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperFigure:
    """A figure of Park & Kim 2022, with its versions in the appendix.

    Attributes:
        name: its id, which is also the name of its studies' files.
        also: further ids that one study answers.
        shows: what it shows, in a few words.
    """

    name: str
    also: tuple[str, ...] = ()
    shows: str

    @property
    def ids(self) -> tuple[str, ...]:
        """All its ids."""
        return (self.name, *self.also)

    @property
    def title(self) -> str:
        """Its ids as people read them: `Fig. 1c, 4, C.4c`."""
        return f"Fig. {', '.join(self.ids)}"


PAPER_FIGURES = (
    PaperFigure(name="1a", also=("C.4a", "C.7"), shows="the loss around networks, and the curvature of larger ones"),
    PaperFigure(name="1c", also=("4", "C.4c"), shows="the Hessian's largest eigenvalues"),
    PaperFigure(name="2a", also=("8", "D.2"), shows="the frequencies that feature maps hold"),
    PaperFigure(name="2b", shows="what noise of one band of frequencies costs"),
    PaperFigure(name="5a", also=("C.1",), shows="test error and training loss over networks"),
    PaperFigure(name="5b", shows="test error and training loss over shares of the data"),
    PaperFigure(name="6", shows="a class token against the mean of all tokens"),
    PaperFigure(name="7", shows="attention over the neighbours alone"),
    PaperFigure(name="9", also=("D.1",), shows="the variance of feature maps"),
    PaperFigure(name="10a", also=("D.3",), shows="how alike feature maps are"),
    PaperFigure(name="10b", also=("D.4",), shows="what removing one branch costs"),
    PaperFigure(name="12b", also=("E.1",), shows="accuracy and robustness of AlterNet"),
    PaperFigure(name="12c", shows="the Hessian's largest eigenvalues with and without attention"),
    PaperFigure(name="C.2", shows="test error and training loss over the number of epochs"),
    PaperFigure(name="C.3", shows="the size of the patches"),
    PaperFigure(name="C.5", shows="the number of heads"),
    PaperFigure(name="C.6", shows="the channels of a head"),
    PaperFigure(name="F.1", shows="strong augmentation, confidence and curvature"),
)


def figure_named(text: str) -> PaperFigure:
    """A figure by any of its ids, in upper or lower case.

    Args:
        text: an id such as `1c`, `C.4c` or `c4c`.

    Raises:
        ConfigError: when there is no such figure, naming the nearest one.
    """
    by_id = {_plain(name): figure for figure in PAPER_FIGURES for name in figure.ids}
    if _plain(text) not in by_id:
        hint = nearest(text, [name for figure in PAPER_FIGURES for name in figure.ids])
        raise ConfigError(f"figure: there is no study of a figure {text[:80]!r}.{hint}")
    return by_id[_plain(text)]


def study_of(figure: PaperFigure, scale: str) -> Path:
    """The file of a figure's study, which need not be there.

    Args:
        figure: one of `PAPER_FIGURES`.
        scale: in `SCALES`.
    """
    return STUDIES / scale / f"{figure.name}.yaml"


def figures_at(scale: str) -> tuple[PaperFigure, ...]:
    """The figures that a scale has a study of.

    Args:
        scale: in `SCALES`.
    """
    return tuple(figure for figure in PAPER_FIGURES if study_of(figure, scale).is_file())


def variants_of(figure: PaperFigure) -> frozenset[str]:
    """Names of the networks that a figure draws, whatever the scale.

    Args:
        figure: one of `PAPER_FIGURES`.
    """
    files = [study_of(figure, scale) for scale in SCALES if scale != ZOO]
    studies = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    return frozenset(name for study in studies for name in study["train"]["variants"])


def _plain(text: str) -> str:
    return text.strip().lower().removeprefix("fig").replace(".", "").strip()
