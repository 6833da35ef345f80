import pytest

from report import outcomes, samples
from report.outcomes import Damaged
from report.telling import answers_of
from visionscope.core.finding import MODELS_DIFFER, capital
from visionscope.diagnostics.outcomes.words import chance
from visionscope.report.summary import main_findings

RINGS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def losses(*values: float) -> dict[object, float]:
    return dict(zip(RINGS, values, strict=True))


def test_main_findings_of_many_diagnostics_speak_of_many_themes() -> None:
    models = [samples.vit(), samples.resnet()]
    damaged = [
        Damaged(label="vit_nano", losses=losses(40, 35, 30, 10, 6, 5, 4, 3, 2)),
        Damaged(label="resnet_nano", losses=losses(2, 3, 4, 5, 6, 10, 30, 35, 40)),
    ]
    attacked = [
        Damaged(label="vit_nano", losses={("pgd", 1.0): 60.0}),
        Damaged(label="resnet_nano", losses={("pgd", 1.0): 10.0}),
    ]
    trusted = outcomes.calibrations(damaged, confidence=(0.95, 0.7), scaled=(0.8, 0.8))
    tables = {**samples.tables(models), **outcomes.noise(damaged), **outcomes.attacks(attacked), **trusted}
    main = main_findings(answers_of(tables))
    assert len(main) == 5
    differing = [one.diagnostic for one in main if one.verdict == MODELS_DIFFER]
    assert differing == ["frequency_noise", "adversarial", "calibration"]
    order = [answer.diagnostic for answer in answers_of(tables)]
    assert [one.diagnostic for one in main] == sorted((one.diagnostic for one in main), key=order.index)
    assert len({one.diagnostic for one in main}) == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [("noise costs", "Noise costs"), ("vit_nano loses", "vit_nano loses"), ("whether vit", "Whether vit")],
)
def test_names_keep_their_small_letters(text: str, said: str) -> None:
    assert capital(text, ["vit_nano", "net"]) == said


@pytest.mark.parametrize(("p", "said"), [(1e-9, "p < 0.001"), (0.0312, "p = 0.031"), (1.0, "p = 1.0")])
def test_chances_are_told_plainly(p: float, said: str) -> None:
    assert chance(p) == said
