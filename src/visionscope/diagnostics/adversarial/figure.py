"""Attacks drawn: what each costs, against its strength."""

import pyarrow as pa

from visionscope.core.figure import Figure, Panel
from visionscope.core.grouping import images_text, rows_by_model
from visionscope.diagnostics.adversarial.question import ATTACKS, Adversarial
from visionscope.diagnostics.adversarial.results import attack_name
from visionscope.diagnostics.outcomes.figure import change_line
from visionscope.diagnostics.outcomes.statistics import summary


def figure(asked: Adversarial, table: pa.Table) -> Figure:
    """What each attack costs in accuracy, a panel per attack and a curve per model."""
    costs = summary(asked, table)
    models = rows_by_model(costs)
    attacks = sorted({row["attack"] for rows in models.values() for row in rows}, key=ATTACKS.index)
    panels = tuple(
        Panel(
            model="",
            title=attack_name(attack),
            x_label="largest change of a pixel (1/255)",
            y_label="change in accuracy (percentage points)",
            lines=tuple(
                change_line(model, own, "eps")
                for model, rows in models.items()
                if (own := [row for row in rows if row["attack"] == attack])
            ),
            group="adversarial",
        )
        for attack in attacks
    )
    caption = (
        f"Change in accuracy over {images_text(costs)} when an attack that knows the network changes their "
        "pixels of [0, 1] by up to eps, so as to raise the NLL; the normalisation is part of what is attacked. "
        "Bars: 95 % intervals, paired over images; grey: p (McNemar, Holm over attacks and eps) of 0.05 or more."
    )
    return Figure(name="adversarial", title="Accuracy under attack", caption=caption, panels=panels)
