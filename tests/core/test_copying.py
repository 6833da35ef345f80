"""Networks that keep what Python's deep copy refuses: every diagnostic looks at them as at any other."""

import copy
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.utils as reparametrize
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import visionscope as vs
from visionscope.core.copying import channels_last, copy_of

IMAGES = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 4


class Small(nn.Module):
    """A residual network of one block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 3, 1, 1))
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        return self.head((x + self.branch(x)).mean((2, 3)))


class Derived(Small):
    """Keeps tensors that were computed from its weights: as an attribute, in a list, in a dictionary, in an object."""

    class Box:
        """Anything that is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = self.head.bias * 2
        self.kept = [self.stem.weight * 2, {"deep": (self.head.weight + 1,)}]
        self.box = self.Box()
        self.box.value = self.head.weight.exp()

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + self.shift.detach()


class Locked(Small):
    """Holds what can't be copied at all, beside a derived tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.made = (name for name in "ab")
        self.shift = self.head.bias * 2


def _each_convolution(change: Callable[[nn.Module], Any]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = Small()
        for module in list(model.modules()):
            if isinstance(module, nn.Conv2d):
                change(module)
        return model

    return build


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "old weight norm": _each_convolution(reparametrize.weight_norm),
    "old spectral norm": _each_convolution(reparametrize.spectral_norm),
    "pruned": _each_convolution(lambda module: prune.l1_unstructured(module, "weight", 0.5)),
    "weight norm": _each_convolution(parametrizations.weight_norm),
    "spectral norm": _each_convolution(parametrizations.spectral_norm),
    "orthogonal": _each_convolution(parametrizations.orthogonal),
    "derived": Derived,
    "locked": Locked,
}


def _built(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch announces that the old forms will go
        model = NETWORKS[name]().eval()
    model(IMAGES)  # what a pass leaves in the modules is there, too
    return model


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_copy_computes_the_same_and_shares_no_weight(name: str) -> None:
    model = _built(name)
    copied = copy_of(model)
    wanted = model(IMAGES)
    assert torch.equal(copied(IMAGES), wanted)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1)
    assert torch.equal(model(IMAGES), wanted)
    assert not torch.equal(copied(IMAGES), wanted)


@pytest.mark.parametrize("name", ["old weight norm", "old spectral norm", "pruned", "derived", "locked"])
def test_python_refuses_these_copies(name: str) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        copy.deepcopy(_built(name))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_feature_maps_are_those_of_the_plain_network(name: str) -> None:
    """The table is that of the same network with the weights that its passes compute."""
    model = _built(name)
    assert [point.name for point in vs.points(model, size=(16, 16))] == ["stem", "+conv"]
    plain = Small().eval()
    made = dict(model.named_buffers())
    weights = {path: module.weight for path, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    with torch.no_grad():
        for path, module in plain.named_modules():
            if path in weights:
                module.weight.copy_(weights[path])
                module.bias.copy_(model.get_submodule(path).bias)
    plain.branch[1].load_state_dict(
        {key.split(".")[-1]: value for key, value in made.items() if "branch.1" in key}, False
    )
    for question in ("fourier", "variance"):
        ours, theirs = (getattr(vs, question)(network, IMAGES).table.to_pydict() for network in (model, plain))
        column = {"fourier": "log_amplitude", "variance": "variance"}[question]
        assert ours[column] == pytest.approx(theirs[column], rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_lesions_and_losses_are_measured(name: str) -> None:
    model = _built(name)
    wanted = nn.functional.cross_entropy(model(IMAGES), LABELS).item()
    lesion = vs.measure("lesion", model, IMAGES, LABELS).table.to_pydict()
    assert lesion["nll"][0] == pytest.approx(wanted, rel=1e-5)
    surface = vs.landscape(model, IMAGES, LABELS, points=3).table.to_pylist()
    (centre,) = {row["nll"] for row in surface if row["x"] == row["y"] == 0}
    assert centre == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", ["old weight norm", "weight norm", "old spectral norm", "pruned"])
def test_their_hessians_are_those_of_the_loss(name: str) -> None:
    """By differences of gradients, in float64; the second derivative of torch's own weight norm would not pass."""
    model = _built(name).double()
    images = IMAGES.double()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def gradient() -> Tensor:
        loss = nn.functional.cross_entropy(model(images), LABELS)
        return torch.cat([one.reshape(-1) for one in torch.autograd.grad(loss, parameters)])

    def shifted(vector: Tensor, step: float) -> Tensor:
        place = 0
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(step * vector[place : place + parameter.numel()].view_as(parameter))
                place += parameter.numel()
        return gradient()

    size, step = sum(parameter.numel() for parameter in parameters), 1e-5
    vector = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    vector /= vector.norm()
    for _ in range(200):
        ahead, behind = shifted(vector, step), shifted(vector, -2 * step)
        shifted(vector, step)
        product = (ahead - behind) / (2 * step)
        value = float(vector @ product)
        vector = product / product.norm()
    found = vs.hessian(model, images, LABELS, mini_batches=1, k=1, weight_decay=0.0).table.to_pydict()
    assert found["eigenvalue"][0] == pytest.approx(value, rel=1e-3)


def test_weights_of_five_axes_stay_as_they_are_where_those_of_four_have_channels_last():
    """`Module.to` fails at them; the lambda layer of timm, for one, has some."""
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Unflatten(1, (1, 8)), nn.Conv3d(1, 2, 3), nn.Flatten(), nn.LazyLinear(4)
    )
    before = made(IMAGES)
    assert channels_last(made) is made
    assert made[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert made[2].weight.is_contiguous()
    assert torch.allclose(made(IMAGES), before, atol=1e-5)
    made(IMAGES).sum().backward()
    assert made[0].weight.grad.shape == made[0].weight.shape
