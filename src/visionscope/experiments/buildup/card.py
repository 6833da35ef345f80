"""The card of a winner: what the file of weights is, how it was found, how well it does, how to load it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visionscope.core.versions import versions
from visionscope.experiments.buildup.networks import Network
from visionscope.experiments.buildup.running import Buildup
from visionscope.models.spec import parse_spec
from visionscope.numerics.over_seeds import t_interval

CARD = "harmonized.md"

_TEXT = """\
# {name}

`{file}` holds the weights of `{network}` in which {what} took the places of these blocks: {blocks}.

## How it was found

By the build-up rule of Park & Kim (2022): a candidate was kept where its accuracy on held-out training images rose over
seeds.{began}

```console
{command}
```

{sentences}

## How well it does

| | |
|---|---|
| data | `{data}`{fraction}, recipe `{recipe}`{changes} |
| test accuracy of {seeds} trainings | {mean:.2f} % (95 % interval over seeds {low:.2f} to {high:.2f}) |
| test accuracy of this file, seed {seed} | {own:.2f} % (95 % interval over images {own_low:.2f} to {own_high:.2f}) |
| parameters | {parameters:,} |
| GMACs of an image of {size} px | {gmacs} |

## How to load it

The file{code} and visionscope {version} are all that it takes:

```python
import visionscope as vs

network = vs.load_model("{spec}").model
```

On the command line, `{spec}` is a model like any other, as in `visionscope points '{spec}'`.
"""


def card_of(buildup: Buildup, file: str, sentences: Sequence[str]) -> str:
    """The card as Markdown.

    Args:
        buildup: with a confirmed winner.
        file: the name of the file of weights.
        sentences: what the build-up has found.
    """
    search, confirmed, winner = buildup.search, buildup.confirmed, buildup.winner
    assert confirmed is not None
    assert winner is not None
    seed, first = next(iter(confirmed.after.items()))
    asked, held = search.question, buildup.held[winner.name]
    accuracies = [100 * one.top_1 for one in confirmed.after.values()]
    low, high = t_interval(accuracies)
    own_low, own_high = (100 * end for end in first.top_1_interval)
    own_code, file_before = search.base.spec.source == "file", parse_spec(asked.model).checkpoint
    began = f"the weights of `{file_before.name}`" if file_before else "its library's pretrained weights"
    return _TEXT.format(
        code=f", `{Path(search.base.spec.name.rpartition(':')[0]).name}`" if own_code else "",
        began=f" Training began with {began}; new blocks were random." if asked.fine_tunes else "",
        name=f"{search.base.label} with {asked.mixer or 'attention'}: {winner.name}",
        file=file,
        network=search.spec(Network(name="")),
        what=f"`{asked.mixer}`" if asked.mixer else "local attention",
        blocks=", ".join(f"`{change.path}`" for change in winner.changes),
        command=search.command,
        sentences="\n".join(f"- {sentence}" for sentence in sentences),
        data=Path(asked.data).name if Path(asked.data).exists() else asked.data,
        fraction=f", {asked.fraction:.3g} of its training images" if asked.fraction < 1 else "",
        recipe=asked.recipe,
        changes="".join(f", {name} {value:g}" for name, value in asked.changes.items()),
        seeds=len(accuracies),
        mean=sum(accuracies) / len(accuracies),
        low=low,
        high=high,
        seed=seed,
        own=100 * first.top_1,
        own_low=own_low,
        own_high=own_high,
        parameters=held.parameters,
        gmacs="unknown" if held.gmacs is None else f"{held.gmacs:.3g}",
        size="x".join(map(str, search.base.input.size)),
        version=versions(("visionscope",))["visionscope"],
        spec=search.spec(Network(name=""), Path(file)),
    )
