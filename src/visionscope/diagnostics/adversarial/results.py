"""What attacks come to between models: which keeps more accuracy under the weakest."""

import operator

import pyarrow as pa

from visionscope.core.finding import joined
from visionscope.diagnostics.adversarial.question import Adversarial
from visionscope.diagnostics.outcomes.fairness import unlike
from visionscope.diagnostics.outcomes.statistics import Number, compared, measured_models, shared_conditions

_CLEAN = ("none", 0.0)


def comparisons(asked: Adversarial, table: pa.Table) -> pa.Table:
    """Each two models in accuracy at the smallest eps that both were asked about, in the mean over attacks.

    Only of networks about as accurate on clean images, and above chance.
    """
    models = measured_models(table, ("attack", "eps"), ("library",), clean=_CLEAN)
    common = shared_conditions(models, _CLEAN)
    least = min((eps for _, eps in common), default=0.0)
    keys = [key for key in common if key[1] == least]
    name = f"accuracy under {joined([attack_name(attack) for attack, _ in keys])} at eps {least:g}/255" if keys else ""
    return compared(models, [Number(name=name, value=operator.methodcaller("mean", keys))] if keys else [], unlike)


def attack_name(attack: str) -> str:
    """As its authors write it.

    Args:
        attack: fgsm, pgd or autoattack.
    """
    return {"autoattack": "AutoAttack"}.get(attack, attack.upper())
