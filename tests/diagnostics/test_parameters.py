"""Which parameters curvature is taken over: frozen ones, unreached ones, complex ones, quantised ones."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reference import hidden_networks
from reference import landscape as twin
from reference.hessian import by_magnitude, dense_hessian
from reference.small_subjects import CLASSES, SMALL, Images, convolutional, measured, subject
from visionscope.core.subject import Scope
from visionscope.diagnostics.density.question import Density
from visionscope.diagnostics.hessian.question import Hessian
from visionscope.diagnostics.landscape.question import Landscape
from visionscope.diagnostics.second_order.parameters import parameters_text
from visionscope.errors import ConfigError, NotApplicableError, VisionscopeError

CURVED = (Hessian(k=1), Density(), Landscape(**SMALL, plane="eigenvectors"))


def with_scopes(model, precision="fp64", **objective):
    """A subject whose scopes are the model and a stage for the children in front of and behind the fourth."""
    given = subject(model, Images(16, mixed=False), precision, **objective)
    names = [name for name, _ in given.model.named_parameters()]
    scopes = [Scope(level="model", name="model", parameters=tuple(names))]
    front = {name for name in names if int(name.partition(".")[0]) < 3} if names[0][0].isdigit() else set()
    if front:
        for name, own in (("stage 1", front), ("stage 2", set(names) - front)):
            scopes.append(Scope(level="stage", name=name, parameters=tuple(one for one in names if one in own)))
    object.__setattr__(given, "scopes", lambda: scopes)
    return given


def exact(given, k, weight_decay, names=None):
    sample = given.samples["train"]
    dense = dense_hessian(given.model, sample.images.double(), sample.labels, weight_decay, names)
    return by_magnitude(dense, k).tolist()


def frozen(model, *prefixes):
    for name, value in model.named_parameters():
        value.requires_grad_(not name.startswith(prefixes))
    return model


def trainable(model):
    return [name for name, value in model.named_parameters() if value.requires_grad]


def size(model, names):
    return sum(value.numel() for name, value in model.named_parameters() if name in names)


@pytest.mark.parametrize("asked", [None, "trainable"])
def test_trainable_parameters_are_the_block_that_is_not_frozen(asked):
    given = with_scopes(frozen(convolutional(), "0.", "1.", "3."), weight_decay=0.7)
    names = trainable(given.model)
    found = measured(Hessian(k=4, parameters=asked), given)
    assert [row.eigenvalue for row in found] == pytest.approx(exact(given, 4, 0.7, names), rel=1e-4)
    total = sum(value.numel() for value in given.model.parameters())
    assert {(row.measured, row.parameters, row.frozen) for row in found} == {
        ("trainable", size(given.model, names), total - size(given.model, names))
    }
    assert trainable(given.model) == names


@pytest.mark.parametrize(
    ("prefixes", "asked", "left"), [((), None, 0), (("0.", "3."), "all", 602), (("",), None, 675), ((), "trainable", 0)]
)
def test_all_parameters_are_measured_frozen_or_not(prefixes, asked, left):
    given = with_scopes(convolutional(), weight_decay=0.7)
    if prefixes:
        frozen(given.model, *prefixes)
    found = measured(Hessian(k=4, parameters=asked), given)
    assert [row.eigenvalue for row in found] == pytest.approx(exact(given, 4, 0.7), rel=1e-4)
    assert {(row.measured, row.parameters, row.frozen) for row in found} == {("all", 675, left)}


def test_scopes_of_which_nothing_is_left_are_left_out():
    given = with_scopes(frozen(convolutional(), "0.", "1."))
    found = measured(Hessian(k=2, scopes="model,stage"), given)
    assert list(dict.fromkeys(row.scope for row in found)) == ["model", "stage 2"]
    assert [row.frozen for row in found] == [174, 174, 0, 0]
    given = with_scopes(frozen(convolutional(), ""))
    with pytest.raises(NotApplicableError, match=r"m: has no trainable parameters; take --hessian.parameters all"):
        Hessian(parameters="trainable").parts(given)


def test_density_of_trainable_parameters():
    given = with_scopes(frozen(convolutional(), "0.", "1.", "3."), weight_decay=0.7)
    found = measured_density(given, Density(mini_batches=1, steps=40))
    largest = max(row.value for row in found if row.quantity == "ritz")
    assert largest == pytest.approx(exact(given, 1, 0.7, trainable(given.model))[0], rel=1e-4)
    assert {(row.parameters, row.measured, row.frozen, row.unused) for row in found} == {(61, "trainable", 614, 0)}


def measured_density(given, diagnostic):
    return [row for _, rows in diagnostic.measure(given, diagnostic.parts(given)) for row in rows]


@pytest.mark.parametrize("plane", ["random", "eigenvectors"])
def test_a_landscape_moves_trainable_parameters_alone(plane):
    model = frozen(convolutional(), "0.", "1.", "3.")
    given = subject(model, weight_decay=0.2)
    own = [value for value in model.parameters() if value.requires_grad]
    found = measured(Landscape(**SMALL, plane=plane), given)
    centre = next(row for row in found if row.x == row.y == 0)
    assert centre.l2 == pytest.approx(0.1 * sum(float(value.detach().square().sum()) for value in own), rel=1e-6)
    assert (centre.measured, centre.frozen) == ("trainable", 614)
    everything = measured(Landscape(**SMALL, plane=plane, parameters="all"), given)
    assert next(row for row in everything if row.x == row.y == 0).nll == centre.nll
    assert [row.nll for row in everything] != [row.nll for row in found]
    if plane == "random":
        (row,) = [row for row in found if (row.x, row.y, row.draw) == (1.0, -1.0, 0)]
        axes = [{"8.weight": twin.filter_normalized(model[8].weight, f"0/0/{axis}/8.weight")} for axis in "xy"]
        wanted = twin.loss_at(model, axes, (1.0, -1.0), Images().as_given(32), 0.2)
        assert row.nll == pytest.approx(wanted["nll"], rel=1e-6)


def test_a_landscape_without_a_weight_that_moves_is_refused():
    given = subject(frozen(convolutional(), "0.", "1.", "3.", "4.", "8.weight"))
    with pytest.raises(
        NotApplicableError, match=r"none of its trainable parameters is a weight .*landscape.parameters all"
    ):
        Landscape(**SMALL).parts(given)
    assert Landscape(**SMALL, parameters="all").parts(given)


def test_what_is_frozen_makes_another_job_and_nothing_else_does():
    plain, part, whole = (with_scopes(frozen(convolutional(), *some)) for some in (("#",), ("0.",), ("",)))
    for diagnostic in (Hessian, Density, Landscape):
        told = [diagnostic().identity_in(given) for given in (plain, part, whole)]
        assert told[0] == []
        assert len({str(one) for one in told}) == 3
        assert (
            diagnostic(parameters="all").identity_in(plain)
            == diagnostic(parameters="trainable").identity_in(plain)
            == []
        )
        assert (
            diagnostic(parameters="trainable").identity_in(part)
            == told[1]
            != diagnostic(parameters="all").identity_in(part)
        )
        assert "parameters" not in diagnostic().identity()


class Cut(nn.Module):
    """A frozen-looking body and a head; gradients of the body are lost in one of several ways."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Tanh(), nn.Flatten())
        self.head = nn.Linear(16, CLASSES)
        self.how = how

    def forward(self, x):
        if self.how == "no_grad":
            with torch.no_grad():
                x = self.body(x)
        elif self.how == "inference_mode":
            with torch.inference_mode():
                x = self.body(x)
        elif self.how == "data":
            x = self.body(x).data
        else:
            x = self.body(x).detach()
        return self.head(x)


@pytest.mark.parametrize("how", ["no_grad", "detach", "data"])
@pytest.mark.parametrize("diagnostic", CURVED)
def test_parameters_that_no_gradient_reaches_are_refused(how, diagnostic):
    given = with_scopes(Cut(how).eval())
    with pytest.raises(
        VisionscopeError, match=r"no gradient .* 196 of the 281 numbers .*, such as 'body.0.weight': a part"
    ):
        measured(diagnostic, given)
    frozen(given.model, "body")
    if isinstance(diagnostic, Hessian):
        (row,) = measured(diagnostic, given)
        assert row.eigenvalue == pytest.approx(exact(given, 1, 0.05, ["head.weight", "head.bias"])[0], rel=1e-4)
        assert (row.parameters, row.frozen, row.unused, row.note) == (85, 196, 0, "")


@pytest.mark.parametrize("diagnostic", CURVED)
def test_inference_mode_inside_is_named(diagnostic):
    with pytest.raises(VisionscopeError, match=r"Cut: a part of its forward runs under torch.inference_mode"):
        measured(diagnostic, with_scopes(Cut("inference_mode").eval()))


class Whole(Cut):
    """No gradient reaches anything."""

    def forward(self, x):
        with torch.no_grad():
            return self.head(self.body(x))


def test_a_loss_without_any_gradient_is_refused():
    with pytest.raises(VisionscopeError, match="no gradient of the loss reaches 281 of the 281 numbers"):
        measured(Hessian(k=1), with_scopes(Whole("").eval()))


class Spare(Cut):
    """Holds a layer that the forward never uses."""

    def __init__(self, scale=1.0):
        super().__init__("")
        self.spare = nn.Linear(3, 3)
        self.scale = scale

    def forward(self, x):
        return self.scale * self.head(self.body(x))


class Sizes(nn.Module):
    """Something of the same shape, whatever its input holds."""

    def forward(self, x):
        return torch.full_like(x, 0.5)


class Aside(nn.Module):
    """A branch without gradients that is added, thrown away, or depends on nothing but the shape."""

    def __init__(self, used):
        super().__init__()
        torch.manual_seed(0)
        self.lift, self.branch, self.head = nn.Conv2d(3, 4, 4, 4), nn.Sequential(nn.Tanh()), nn.Linear(4, CLASSES)
        self.used, self.sizes = used, Sizes()

    def forward(self, x):
        x = self.lift(x)
        with torch.no_grad():
            y = self.sizes(x) if self.used == "shape" else self.branch(x)
        return self.head((x if self.used == "no" else x + y).mean((2, 3)))


def test_a_branch_without_gradients_is_named_where_the_loss_depends_on_it():
    with pytest.raises(
        VisionscopeError, match=r"Aside: no gradient passes through module 'branch.0', on which the loss depends"
    ):
        measured(Hessian(k=1), with_scopes(Aside("yes").eval()))
    for used in ("no", "shape"):
        given = with_scopes(Aside(used).eval())
        assert measured(Hessian(k=1), given)[0].eigenvalue == pytest.approx(exact(given, 1, 0.05)[0], rel=1e-4)


def test_what_the_loss_does_not_depend_on_is_counted():
    given = with_scopes(Spare().eval())
    (row,) = measured(Hessian(k=1), given)
    assert row.eigenvalue == pytest.approx(exact(given, 1, 0.05)[0], rel=1e-4)
    assert (row.parameters, row.unused, row.note) == (293, 12, "")
    assert {row.unused for row in measured_density(given, Density(mini_batches=1, steps=5))} == {12}
    frozen(given.model, "body", "head")
    with pytest.raises(VisionscopeError, match="the loss depends on none of the parameters that are measured"):
        measured(Hessian(k=1), given)


def test_an_eigenvalue_that_is_the_weight_decay_alone_says_so():
    found = measured(Hessian(k=2), with_scopes(Spare(scale=0.0).eval(), weight_decay=0.05))
    assert [row.eigenvalue for row in found] == pytest.approx([0.05, 0.05])
    assert {row.note for row in found} == {"the NLL has no curvature there: what is left is the weight decay"}


class Spectral(nn.Module):
    """Weights in the frequency domain, as complex numbers or as pairs of reals."""

    def __init__(self, pairs):
        super().__init__()
        torch.manual_seed(0)
        self.lift = nn.Conv2d(3, 4, 2, 2)
        drawn = 0.5 * torch.randn(4, 4, 3, 2, dtype=torch.cfloat)
        self.filters = nn.Parameter(torch.view_as_real(drawn).clone() if pairs else drawn)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        x = torch.fft.rfft2(self.lift(x))
        filters = self.filters if self.filters.is_complex() else torch.view_as_complex(self.filters)
        kept = torch.einsum("bixy,ioxy->boxy", x[:, :, :3, :2], filters.to(x.dtype))
        return self.head(F.gelu(torch.fft.irfft2(kept, s=(4, 4))).mean((2, 3)))


@pytest.mark.parametrize("normalization", ["filter", "layer", "none", "official"])
def test_a_complex_weight_is_a_pair_of_reals(normalization):
    fields = {**SMALL, "normalization": normalization}
    found, others = (measured(Landscape(**fields), subject(Spectral(pairs).eval())) for pairs in (False, True))
    if normalization == "official":  # its norms are taken at each number, and a complex one is one place
        found, others = ([row for row in rows if row.x == row.y == 0] for rows in (found, others))
    for row, other in zip(found, others, strict=True):
        assert (row.nll, row.l2) == pytest.approx((other.nll, other.l2), rel=1e-5)
        assert row.l2_official == pytest.approx(other.l2_official, rel=1e-6)


@pytest.mark.parametrize("diagnostic", CURVED)
def test_second_derivatives_by_complex_numbers_are_refused_by_name(diagnostic):
    given = with_scopes(Spectral(False).eval(), "fp32")
    with pytest.raises(
        NotApplicableError, match=rf"the parameter 'filters' is complex; freeze it .*{diagnostic.name}\.para"
    ):
        diagnostic.parts(given)
    frozen(given.model, "filters")
    pairs = with_scopes(frozen(Spectral(True).eval(), "filters"), "fp32")
    if not isinstance(diagnostic, Density):
        found, wanted = (measured(diagnostic, one)[0] for one in (given, pairs))
        field = "eigenvalue" if isinstance(diagnostic, Hessian) else "nll"
        assert getattr(found, field) == pytest.approx(getattr(wanted, field), rel=1e-3)


@pytest.mark.parametrize("diagnostic", [Hessian(), Density(), Landscape()])
def test_weights_in_few_bits_are_refused_by_name(diagnostic):
    given = with_scopes(hidden_networks.eight_bits(), "fp32")
    with pytest.raises(NotApplicableError, match=r"its weights are quantised, such as 'widen.numbers'"):
        diagnostic.parts(given)


@pytest.mark.parametrize("diagnostic", CURVED)
def test_rounding_with_gradients_straight_through_is_refused(diagnostic):
    model = hidden_networks.plain()
    model.rounded = torch.ao.quantization.FakeQuantize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.apply(torch.ao.quantization.disable_observer)
    with pytest.raises(NotApplicableError, match="'rounded' rounds, and passes gradients on as if it did not"):
        diagnostic.parts(with_scopes(model, "fp32"))


@pytest.mark.parametrize("diagnostic", CURVED)
def test_parameters_made_in_inference_mode_are_refused(diagnostic):
    with torch.inference_mode():
        model = convolutional()
    with pytest.raises(NotApplicableError, match=r"'0.weight' was made under torch.inference_mode"):
        diagnostic.parts(with_scopes(model, "fp32"))


@pytest.mark.parametrize("diagnostic", [Hessian, Density, Landscape])
def test_the_choice_has_a_rule(diagnostic):
    with pytest.raises(
        ConfigError,
        match=r"\.parameters: must be one of trainable, all; got 'trainble'. Did you mean 'trainable'",
    ):
        diagnostic(parameters="trainble")


def test_checkpoints_move_everything():
    with pytest.raises(ConfigError, match=r"landscape.parameters: must be all where plane is checkpoints"):
        Landscape(plane="checkpoints", checkpoints=("a", "b"), parameters="trainable")


def test_captions_tell_what_is_frozen_and_unused():
    row = {"model": "m", "measured": "trainable", "frozen": 1200, "unused": 0}
    assert parameters_text([row]) == "m: trainable parameters alone, 1,200 numbers are frozen."
    other = {**row, "model": "n", "measured": "all", "unused": 3}
    assert parameters_text([other]) == (
        "n: all parameters, 1,200 frozen numbers among them; the loss does not depend on 3 of their numbers."
    )
    assert parameters_text([{**row, "frozen": 0}]) == ""
    assert len(parameters_text([row, other]).splitlines()) == 1
