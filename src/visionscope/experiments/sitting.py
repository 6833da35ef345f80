"""How one sitting at an experiment goes, as data; checked before anything heavy is imported."""

from __future__ import annotations

import dataclasses

from visionscope.core.rules import check_rules, rule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sitting:
    """How one sitting at an experiment goes.

    Attributes:
        on: where trainings and diagnoses run: `local` (processes of this machine), `ray` or `ray://HOST:PORT` (a Ray
            cluster), or `slurm` (options in the study, under slurm).
        workers: how many at a time, each on one core with one thread.
        gpus: of each of these, such as 1 or 0.25; by default this machine's GPUs are shared out, and Ray and Slurm are
            asked for none.
        only_training: train, and leave what is asked of the networks for another time.
        until: hours after which it ends, to be gone on with.
        seeds: of each variant, the first so many alone.
        data: data spec instead of the study's.
    """

    on: str = rule("local", empty=False, words="local, ray, ray://HOST:PORT or slurm")
    workers: int = rule(1, least=1, most=10_000)
    gpus: float | None = rule(None, least=0, most=64)
    only_training: bool = False
    until: float | None = rule(None, above=0, most=100_000)
    seeds: int | None = rule(None, least=1, most=1000)
    data: str | None = rule(None, empty=False)

    def __post_init__(self) -> None:
        check_rules(self)
