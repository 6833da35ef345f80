"""What captions say of the parameters that second derivatives are taken over."""

from collections.abc import Mapping, Sequence
from typing import Any


def parameters_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """What a caption says of frozen and unused parameters, of each model that has any; "" where there are none.

    Args:
        rows: with the columns `model`, `measured`, `frozen` and, where second derivatives are taken, `unused`; of
            whole models.
    """
    said = {}
    for row in rows:
        text = []
        if row["frozen"] and row["measured"] == "trainable":
            text.append(f"trainable parameters alone, {row['frozen']:,} numbers are frozen")
        elif row["frozen"]:
            text.append(f"all parameters, {row['frozen']:,} frozen numbers among them")
        if row.get("unused"):
            text.append(f"the loss does not depend on {row['unused']:,} of their numbers")
        if text:
            said[row["model"]] = f"{row['model']}: {'; '.join(text)}."
    return " ".join(said.values())
