"""What a worker does: one training, or the diagnoses of one training's weights; files come out as they are written."""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from visionscope.claims.one_seed import LAST
from visionscope.data.specs import find_data
from visionscope.errors import VisionscopeError
from visionscope.experiments.executors.work import File
from visionscope.experiments.experiment import THREADS
from visionscope.experiments.plan import DiagnoseTask, TrainTask
from visionscope.training.recipe import Recipe

SAVE_SECONDS = 120.0
"""Between two states that a training goes on from when its worker dies."""

_LOOK_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainWork:
    """A training, as a worker is asked for it.

    Attributes:
        asked: keyword arguments of `train`.
        training: the digits that its folder must have.
    """

    asked: Mapping[str, Any]
    training: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiagnoseWork:
    """Diagnoses of one training's weights at one moment, as a worker is asked for them.

    Attributes:
        study: keys and values, as a YAML file has them, without models.
        model: the model spec without weights.
        label: of the model.
        training: the training's digits.
        snapshot: the moment.
        keys: of each diagnostic, the identity of the question.
    """

    study: Mapping[str, Any]
    model: str
    label: str
    training: str
    snapshot: str
    keys: Mapping[str, str]


def train_work(task: TrainTask) -> TrainWork:
    """A training as a worker is asked for it.

    Args:
        task: of a plan.
    """
    variant = task.variant
    asked = {"model": variant.model, "data": absolute(variant.data), "recipe": variant.recipe, **variant.changes}
    asked |= dataclasses.asdict(variant.terms(task.seed))
    return TrainWork(asked={**asked, "until": task.until}, training=task.training)


def diagnose_work(task: DiagnoseTask, names: Sequence[str]) -> DiagnoseWork:
    """A diagnosis as a worker is asked for it; by default the loss is that of the training, on the images that it had.

    Args:
        task: of a plan.
        names: of the diagnostics that have no result yet.
    """
    variant, recipe = task.train.variant, task.train.variant.trained_by
    chosen = [one for one in task.asked.diagnostics if one.name in names]
    study: dict[str, Any] = {
        "data": absolute(variant.data),
        "only": list(names),
        "augmentation": strength_of(recipe),
        "label_smoothing": recipe.label_smoothing,
        "weight_decay": recipe.weight_decay,
        "decays": recipe.decays,
        "fraction": variant.fraction,
        "fraction_seed": task.train.seed,
        **task.asked.settings,
        **{one.name: dataclasses.asdict(one) for one in chosen},
    }
    return DiagnoseWork(
        study=study,
        model=variant.model,
        label=variant.name,
        training=task.train.training,
        snapshot=task.asked.snapshot,
        keys={name: task.keys[name] for name in names},
    )


def strength_of(recipe: Recipe) -> str:
    """The word of a study that comes closest to a recipe's augmentation.

    Args:
        recipe: any.
    """
    if recipe.mixup or recipe.cutmix or recipe.rand_augment:
        return "strong"
    return "none" if recipe.crop == "centre" and not recipe.flip else "weak"


def absolute(data: str) -> str:
    """A data spec for a worker whose working directory is another.

    Args:
        data: the spec.
    """
    return str(Path(data).resolve()) if find_data(data).kind == "path" else data


def train_files(work: TrainWork, brought: Sequence[File]) -> Iterator[File]:
    """Trains, and yields each file of the training's folder when it is written; that of the last weights at the end.

    Args:
        work: what is asked.
        brought: files of an earlier attempt, which it goes on from.

    Raises:
        VisionscopeError: when the training fails, or the data or the versions here make another training of it.
    """
    from visionscope.training.feed import keep_images
    from visionscope.training.train import train

    keep_images()

    def begin(run: Path) -> None:
        train(**work.asked, out=run, threads=THREADS, save_seconds=SAVE_SECONDS, report=lambda progress: None)

    for file in _streamed(begin, brought):
        if not file.path.startswith(f"train/{work.training}/"):
            raise VisionscopeError(
                f"training {work.training}: this machine makes another training of it ({file.path.split('/')[1]}): its "
                "images, or its versions of torch, timm or visionscope, are not those of the machine that planned it"
            )
        yield file


def diagnose_files(work: DiagnoseWork, brought: Sequence[File]) -> Iterator[File]:
    """Measures, and yields job.json and every part when it is written.

    Args:
        work: what is asked.
        brought: the weights, first, and files of an earlier attempt.

    Raises:
        VisionscopeError: when nothing of it can be measured; a part that fails leaves its error's file.
    """
    from visionscope.config import study_from
    from visionscope.running.devices import device_of
    from visionscope.running.execute import execute
    from visionscope.running.plan import plan
    from visionscope.running.store import Store

    def begin(run: Path) -> None:
        weights = run / brought[0].path
        study = study_from({**work.study, "models": [f"{work.label}={work.model}@{weights}"], "out": str(run)})
        planned = []
        for subject in plan(study):
            told = {"training": work.training, "snapshot": work.snapshot}
            jobs = tuple(
                dataclasses.replace(
                    job,
                    record={**job.record, "experiment": {**told, "question": work.keys[job.diagnostic.name]}},
                )
                for job in subject.jobs
            )
            planned.append(dataclasses.replace(subject, jobs=jobs))
        execute(planned, Store(run), batch=study.batch, device=device_of(study.device), bars=False)

    yield from _streamed(begin, brought)


def _streamed(begin: Callable[[Path], None], brought: Sequence[File]) -> Iterator[File]:
    """Works in a folder of its own, and yields the files that change there, each as often as it does."""
    with tempfile.TemporaryDirectory(prefix="visionscope-") as folder:
        run = Path(folder)
        for file in brought:
            path = run / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
        known = _stamps(run)
        failed: list[BaseException] = []

        def work() -> None:
            try:
                begin(run)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="work", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_LOOK_SECONDS)
                yield from _changed(run, known)
            yield from _changed(run, known)
        finally:
            thread.join()  # who stops reading waits for the end: the folder is still written to
        if failed:
            raise failed[0]


def _stamps(run: Path) -> dict[str, tuple[int, int]]:
    """Time and size of every file, oldest first; those that are not whole yet, or no result, are left out."""
    found = {}
    for path in run.rglob("*"):
        try:
            if path.is_file() and not path.name.startswith(".") and path.name not in ("log.txt",):
                stat = path.stat()
                found[str(path.relative_to(run))] = (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            continue  # replaced meanwhile; it is seen the next time
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _changed(run: Path, known: dict[str, tuple[int, int]]) -> Iterator[File]:
    now = _stamps(run)
    new = [name for name, stamp in now.items() if known.get(name) != stamp]
    # Last weights say that the training is over: everything else must be there when they are.
    for name in sorted(new, key=lambda name: Path(name).name == f"{LAST}.safetensors"):
        try:
            content = (run / name).read_bytes()
        except FileNotFoundError:
            continue
        known[name] = now[name]
        yield File(name, content)
