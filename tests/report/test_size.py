import dataclasses
import itertools
from pathlib import Path

import pyarrow as pa

from report import curvature, outcomes, probes, samples
from report.outcomes import Damaged
from report.telling import answers_of
from visionscope.core.diagnostic import Answer
from visionscope.core.registry import diagnostic_names
from visionscope.report.page import build_report

LARGEST = 3_000_000
RINGS = tuple(number / 10 for number in range(1, 10))
TYPES = (
    "noise",
    "blur",
    "fog",
    "frost",
    "snow",
    "rain",
    "dust",
    "glass",
    "zoom",
    "jpeg",
    "tint",
    "dark",
    "warp",
    "a",
    "b",
)


def _models() -> list[samples.Invented]:
    """Six models of 25 to 51 points."""
    plain = [samples.vit(f"vit_{number}") for number in range(3)]
    return [*plain, *(samples.resnet(f"resnet_{number}", blocks=(9, 12, 20, 9)) for number in range(3))]


def _answers(models: list[samples.Invented]) -> list[Answer]:
    names = [model.label for model in models]
    damaged = [Damaged(label=name, losses=dict.fromkeys(RINGS, 5.0 + place)) for place, name in enumerate(names)]
    units = {(stage, number): 3.0 * stage for stage in range(1, 5) for number in range(6)}
    places = {(row, column): 5.0 for row in range(-8, 9) for column in range(-8, 9)}
    stages = tuple(("stage", f"stage {number}") for number in range(1, 5))
    curved = [curvature.Curved(label=name, levels=(("model", "model"), *stages)) for name in names]
    pairs = [samples.between_table(*pair) for pair in itertools.combinations(models, 2)]
    several = (0.9,) * len(names)
    found = [
        samples.tables(models),
        samples.token_tables(models),
        probes.receptive_fields(models),
        probes.sharpnesses(models),
        probes.compressions(models),
        {"similarity_between": pa.concat_tables(pairs)},
        outcomes.lesions([Damaged(label=name, losses=units) for name in names]),
        outcomes.noise(damaged),
        outcomes.heatmap([Damaged(label=name, losses=places) for name in names]),
        outcomes.corruptions([Damaged(label=name, losses=dict.fromkeys(TYPES, 10.0)) for name in names]),
        outcomes.attacks(
            [
                Damaged(label=name, losses={(a, e): 9.0 * e for a in ("fgsm", "pgd") for e in (1.0, 2.0, 4.0)})
                for name in names
            ]
        ),
        outcomes.calibrations(damaged, confidence=several, scaled=several),
        outcomes.fits(damaged, nll=several),
        outcomes.conflicts(damaged, shape=(150,) * 6, texture=(50,) * 6),
        outcomes.attentions(names[:3], distances=tuple(range(12))),
        curvature.tables(curved),
    ]
    return answers_of({name: table for tables in found for name, table in tables.items()})


def test_six_models_in_all_diagnostics_fit_into_three_megabytes(tmp_path: Path) -> None:
    models = _models()
    answers = _answers(models)
    # A diagnostic that is new belongs into this page, too.
    assert {answer.diagnostic for answer in answers} == set(diagnostic_names())
    (sheeted,) = [one for one in answers if one.diagnostic == "corruption"]
    drawn = dataclasses.replace(sheeted.figures[0], panels=(*sheeted.figures[0].panels, outcomes.sheet(96)))
    answers[answers.index(sheeted)] = dataclasses.replace(sheeted, figures=(drawn,))
    page = build_report(tmp_path, answers, samples.jobs(models))

    assert page.stat().st_size < LARGEST


def test_of_many_receptive_fields_twelve_are_drawn_the_first_and_the_last_among_them() -> None:
    model = samples.vit(blocks=12)
    (answer,) = answers_of(probes.receptive_fields([model]))
    (sheet,) = [panel for panel in answer.figures[0].panels if panel.pictures]
    titles = [picture.title for row in sheet.pictures for picture in row]
    spots = [spot.name for spot in model.spots()]
    assert len(titles) == len(set(titles)) == 12
    assert (titles[0], titles[-1]) == (spots[0], spots[-1])
    assert "12 evenly spaced ones" in answer.figures[0].caption
