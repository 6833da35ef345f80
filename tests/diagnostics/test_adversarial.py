import importlib.util
import math

import pytest
import torch
from torch import nn

from reference.found_as_it_was import snapshot
from reference.perturbed import Images, measured, subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.diagnostics.adversarial import attacks, libraries
from visionscope.diagnostics.adversarial import measure as measuring
from visionscope.diagnostics.adversarial.attacks import AttackedNetwork
from visionscope.diagnostics.adversarial.question import Adversarial, AdversarialRow
from visionscope.diagnostics.outcomes.perturbing import Pixels
from visionscope.errors import ConfigError, DataError, NotApplicableError
from visionscope.numerics.noise import uniform_noise

needs_foolbox = pytest.mark.skipif(importlib.util.find_spec("foolbox") is None, reason="needs foolbox")
needs_autoattack = pytest.mark.skipif(importlib.util.find_spec("pyautoattack") is None, reason="needs pyautoattack")


def attacked(given, attack, eps, batch_size=40, **fields):
    """Pixels before and after, of all images."""
    pixels = Pixels.of(given)
    network, asked = AttackedNetwork(given, pixels), Adversarial(**fields)
    found = []
    for batch in given.samples["eval"].batches(0, 40, batch_size):
        found.append(measuring.attacked(asked, network, attack, pixels.of_images(batch.images), batch, eps))
    return given.samples["eval"].pixels, torch.cat(found)


@needs_foolbox
def test_another_version_of_the_library_makes_another_identity(monkeypatch):
    before = Adversarial().identity()
    assert before["libraries"][0].startswith("foolbox ")
    monkeypatch.setattr(libraries, "version", lambda name: "99.0")
    assert Adversarial().identity() != before


@needs_foolbox
@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
@pytest.mark.parametrize("eps", [0.5, 8.0, 255.0])
def test_no_pixel_changes_by_more_than_eps_or_leaves_its_range(attack, eps):
    before, after = attacked(subject(), attack, eps)
    assert float((after - before).abs().max()) <= eps / 255 + 1e-12
    assert 0 <= float(after.min()) <= float(after.max()) <= 1
    assert float((after - before).abs().max()) > 0.9 * min(eps / 255, 1)


@needs_foolbox
@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_an_attack_of_no_size_changes_nothing(attack):
    before, after = attacked(subject(), attack, 0.0)
    assert float((after - before).abs().max()) <= 1e-12


@needs_foolbox
def test_fgsm_of_a_linear_network_is_the_sign_of_its_weights():
    given = subject()
    given.model.body = nn.Sequential(nn.Flatten(1), nn.Linear(3 * 12 * 9, 2)).double()
    sample = given.samples["eval"]
    sample.labels = sample.labels % 2
    before, after = attacked(given, "fgsm", 2.0)
    weight = given.model.body[1].weight.detach()
    # the NLL of class y falls along w_y - w_other, and dividing by std keeps its sign
    for image, label, pixels in zip(after, sample.labels.tolist(), before, strict=True):
        direction = (weight[1 - label] - weight[label]).sign().reshape(3, 12, 9)
        assert torch.allclose(image, (pixels + 2 / 255 * direction).clamp(0, 1), rtol=0, atol=1e-12)


@needs_foolbox
def test_pgd_is_projected_steps_from_the_seeded_start():
    given = subject()
    before, after = attacked(given, "pgd", 8.0, steps=3, seed=5)
    sample, network = given.samples["eval"], AttackedNetwork(given, Pixels.of(given))
    limit, step = 8 / 255, 2.5 * 8 / 255 / 3
    pixels = (before + limit * uniform_noise(5, range(40), (3, 12, 9)).double()).clamp(0, 1)
    for _ in range(3):
        pixels = pixels.detach().requires_grad_()
        loss = nn.functional.cross_entropy(network(pixels), sample.labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, pixels)
        pixels = torch.minimum(torch.maximum(pixels + step * gradient.sign(), before - limit), before + limit)
        pixels = pixels.clamp(0, 1)
    assert torch.allclose(after, pixels.detach(), rtol=0, atol=1e-12)


@needs_foolbox
def test_an_image_is_attacked_alike_in_any_batch_and_otherwise_with_another_seed():
    whole, pieces, other = (
        attacked(subject(), "pgd", 4.0, batch_size=size, steps=2, seed=seed)[1]
        for size, seed in ((40, 0), (7, 0), (40, 1))
    )
    assert torch.allclose(whole, pieces, rtol=0, atol=1e-12)
    assert float((whole - other).abs().max()) > 1 / 255


@needs_foolbox
def test_pgd_raises_the_loss_above_fgsm_and_both_above_the_clean_one():
    rows = {row.attack: row for row in measured(Adversarial(eps=(8.0,)), subject())}
    assert rows["none"].nll < rows["fgsm"].nll < rows["pgd"].nll
    assert (rows["fgsm"].steps, rows["fgsm"].step, rows["fgsm"].begins) == (1, 8.0, "image")
    assert (rows["pgd"].steps, rows["pgd"].step, rows["pgd"].begins) == (10, 2.0, "random")
    assert (rows["none"].library, rows["pgd"].library.split()[0]) == ("none", "foolbox")


@needs_foolbox
def test_parameters_keep_their_flags_and_get_no_gradient():
    given = subject()
    next(given.model.parameters()).requires_grad_(False)
    before = snapshot(given.model)
    measured(Adversarial(eps=(1.0,), steps=1), given)
    assert snapshot(given.model) == before
    given.model.broken = True
    with pytest.raises(DataError, match="not finite"):
        measured(Adversarial(eps=(1.0,), steps=1), given)
    given.model.broken = False
    assert snapshot(given.model) == before


@needs_foolbox
def test_each_attack_has_a_panel_and_each_model_a_line():
    rows = measured(Adversarial(eps=(1.0, 8.0), steps=2), subject())
    table = with_leading_of(to_table(AdversarialRow, rows), [{**dict.fromkeys(LEADING, "?"), "model": "m"}] * len(rows))
    figure = Adversarial().figure(table)
    assert [(panel.title, panel.lines[0].x) for panel in figure.panels] == [("FGSM", (1, 8)), ("PGD", (1, 8))]
    summary = Adversarial().summary(table).to_pylist()
    assert [(row["attack"], row["eps"]) for row in summary] == [("fgsm", 1), ("fgsm", 8), ("pgd", 1), ("pgd", 8)]


@needs_autoattack
@pytest.mark.slow
def test_autoattack_stays_in_its_ball_and_beats_pgd():
    given = subject(images=Images(count=4))
    before = torch.random.get_rng_state()
    rows = {row.attack: row for row in measured(Adversarial(attacks=("pgd", "autoattack"), eps=(8.0,)), given)}
    assert torch.equal(torch.random.get_rng_state(), before)
    assert int(rows["autoattack"].right, 16).bit_count() <= int(rows["pgd"].right, 16).bit_count()


def test_what_works_in_float32_is_answered_in_float32():
    given = subject()
    network = AttackedNetwork(given, Pixels.of(given))
    pixels = given.samples["eval"].pixels
    with torch.no_grad():
        assert network(pixels.float()).dtype == torch.float32
        assert torch.allclose(network(pixels.float()).double(), network(pixels), atol=1e-5)


def test_autoattack_needs_four_classes():
    given = subject()
    given.model.body = nn.Sequential(nn.Flatten(1), nn.Linear(3 * 12 * 9, 3)).double()
    network = AttackedNetwork(given, Pixels.of(given))
    with pytest.raises(ConfigError, match="autoattack needs a network of at least 4 classes; got 3"):
        attacks.auto_attack(network, given.samples["eval"].pixels, given.samples["eval"].labels, 0.1, seed=0)


@pytest.mark.parametrize(
    ("attack", "said"), [("pgd", r"pip install 'visionscope\[attacks\]'"), ("autoattack", "pip install pyautoattack")]
)
def test_a_missing_library_is_said_before_anything_is_computed(attack, said, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotApplicableError, match=f"{attack} needs a library that is not installed; {said}"):
        Adversarial(attacks=(attack,)).parts(subject())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"eps": (math.nan,)}, r"adversarial\.eps: each must be a number above 0 and at most 255; got nan"),
        ({"eps": (0.0,)}, r"adversarial\.eps: each must be a number above 0 and at most 255; got 0\.0"),
        (
            {"eps": ()},
            r"adversarial\.eps: must be a list of one or more, each a number above 0.*, without repeats; got \[\]",
        ),
        (
            {"attacks": ("fgsn",)},
            r"adversarial\.attacks: each must be one of fgsm, pgd, autoattack; got 'fgsn'\. Did you mean 'fgsm'\?",
        ),
        ({"steps": 0}, r"adversarial\.steps: must be an integer from 1 to 100000; got 0"),
        ({"seed": -1}, r"adversarial\.seed: must be an integer from 0 to 2147483647; got -1"),
    ],
)
def test_wrong_values_are_refused_in_a_line(fields, said):
    with pytest.raises(ConfigError, match=said):
        Adversarial(**fields)


def test_what_can_not_be_asked_is_said():
    with pytest.raises(NotApplicableError, match="needs labels"):
        Adversarial().parts(subject(images=Images(labelled=False)))
    with pytest.raises(NotApplicableError, match="needs the size and normalisation of its images"):
        Adversarial().parts(subject(input=None))


class Cut(nn.Module):
    """A network whose body runs in a context that keeps no gradients, or is cut off."""

    def __init__(self, body, how):
        super().__init__()
        self.body, self.how = body, how

    def forward(self, x):
        if self.how == "detach":
            return 2 * self.body(x).detach()
        if self.how == "sign":
            return 2 * self.body(torch.sign(x))
        if self.how == "branch":
            with torch.no_grad():
                beside = self.body[:4](x)
            return self.body[4:](self.body[:4](x) + beside)
        with torch.no_grad() if self.how == "no_grad" else torch.inference_mode():
            x = self.body(x)
        return 2 * x


@needs_foolbox
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no_grad", "none reaches the images: a part"),
        ("inference_mode", "none reaches the images: a part"),
        ("detach", "none reaches the images: a part"),
        ("sign", "that of its logits is zero: a step"),
        ("branch", r"none passes through module 'body.body\.\d', which runs under torch\.no_grad or detaches"),
    ],
)
def test_a_network_whose_gradient_does_not_reach_the_images_is_refused(how, said):
    given = subject()
    given.model.body = Cut(given.model.body, how)
    before = snapshot(given.model)
    with pytest.raises(NotApplicableError, match=f"m: an attack follows gradients, and {said}"):
        Adversarial().parts(given)
    assert snapshot(given.model) == before


@needs_foolbox
def test_probabilities_have_a_gradient_though_their_sum_has_none():
    given = subject()
    given.model.body.append(nn.Softmax(1))
    assert Adversarial().parts(given)
