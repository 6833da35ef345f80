"""Which networks there are, how each is known, where its weights are, and what of the questions is answered."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from visionscope.claims.one_seed import LAST
from visionscope.core.files import user_path
from visionscope.core.versions import versions
from visionscope.data.digest import source_digest
from visionscope.data.sources import open_source
from visionscope.errors import ConfigError
from visionscope.experiments.done import done_jobs, known_results, not_applicable, stored_tables
from visionscope.experiments.plan import DIGITS
from visionscope.experiments.zoo.asking import Zoo
from visionscope.experiments.zoo.listing import Listed
from visionscope.models.at_hand import Place, weights_place
from visionscope.models.find import split_place
from visionscope.models.spec import ModelSpec

_LIBRARIES = ("visionscope", "torch", "torchvision", "timm", "transformers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A network of a list, ready to be asked.

    Attributes:
        listed: where it stands.
        key: digits that identify it with the images: the spec, the content of its files, the versions of the libraries.
        weights: where they are.
        left: names of the diagnostics without a result.
    """

    listed: Listed
    key: str
    weights: Place
    left: tuple[str, ...]

    @property
    def label(self) -> str:
        """How tables and figures call it."""
        return self.listed.label


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZooPlan:
    """What there is to do.

    Attributes:
        zoo: what is asked.
        networks: in the order of the list.
        images: of the data.
    """

    zoo: Zoo
    networks: tuple[Network, ...]
    images: int

    @property
    def run(self) -> Path:
        """The run folder."""
        return user_path("out", self.zoo.out)


def plan_zoo(zoo: Zoo) -> ZooPlan:
    """Identifies every network and looks what is done; loads and fetches none.

    Args:
        zoo: what is asked.

    Raises:
        ConfigError: for one network in two lines.
        DataError: for images that can't be read.
        StoreError: when a table of the run folder can't be read.
    """
    source = open_source(zoo.data)
    images = source_digest(source)
    run = user_path("out", zoo.out)
    done = done_jobs(run)
    there = {place for place, job in done.items() if job.whole} | known_results(stored_tables(run))
    skipped, networks, lines = not_applicable(done), [], dict[str, int]()
    for one in zoo.networks:
        key = network_key(one.spec, images)
        if key in lines:
            raise ConfigError(
                f"models: line {one.line}: {one.label} is the network of line {lines[key]} with the same weights; "
                "name it once"
            )
        lines[key] = one.line
        left = tuple(
            name
            for name, question in zoo.questions
            if (key, LAST, question) not in there and (key, LAST, name) not in skipped
        )
        networks.append(Network(listed=one, key=key, weights=weights_place(one.spec), left=left))
    return ZooPlan(zoo=zoo, networks=tuple(networks), images=len(source))


def network_key(spec: ModelSpec, images: str) -> str:
    """Identifies a network that is measured on images, without loading it.

    sha256 over the name of the model and its arguments, the content of the files that the spec names, the digest of the
    images, and the versions of the libraries that bring networks; where files lie counts for nothing.

    Args:
        spec: of the network.
        images: their digest.

    Returns:
        12 hexadecimal digits.
    """
    named = dataclasses.replace(spec, label="", checkpoint=None)
    files = [split_place(spec.checkpoint)[0]] if spec.checkpoint is not None else []
    part = split_place(spec.checkpoint)[1] if spec.checkpoint is not None else ""
    name = named.text
    if spec.source == "file":
        path, _, function = spec.name.rpartition(":")
        files.append(user_path("model", path))
        name = f"{function}{named.query}"
    elif spec.source == "hf" and user_path("model", spec.name).is_dir():
        files += sorted(one for one in user_path("model", spec.name).rglob("*") if one.is_file())
        name = f"hf{named.query}"
    told = [name, part, [_content(file) for file in files], images, versions(_LIBRARIES)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
