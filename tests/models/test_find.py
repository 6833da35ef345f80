"""What a model spec names, looked for without the libraries that would build it."""

import sys

import pytest
import timm

from visionscope.errors import ConfigError
from visionscope.models import find
from visionscope.models.builders import torchvision_names
from visionscope.models.find import find_model


@pytest.fixture
def unimported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries as they are in a command that has just begun."""
    for name in ("timm", "torchvision"):
        monkeypatch.delitem(sys.modules, name)


def test_names_in_the_source_are_those_of_the_registries():
    names, others = find._source_names("timm")
    assert set(timm.list_models()) == names
    assert set(timm.models._registry._model_entrypoints) <= names | others  # older names, too
    names, others = find._source_names("torchvision")
    assert set(torchvision_names()) <= names | others


@pytest.mark.parametrize(
    "text",
    [
        "resnet18",
        "a=timm:resnet50.a1_in1k?num_classes=10",
        "tv_resnext50_32x4d",  # a name of older versions
        "alternet_50",
        "resnet_20_cifar",
        "torchvision:vit_b_16",
        "hf:microsoft/resnet-50",
    ],
)
def test_what_is_there_is_found(text, unimported):
    find_model(text)


@pytest.mark.usefixtures("unimported")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=resnt18", r"^timm has no model 'resnt18'. Did you mean 'resnet18'\? `visionscope models` lists all.$"),
        (
            "timm:vit_tiny_patch16_223.augreg",
            r"^timm has no model 'vit_tiny_patch16_223.augreg'. Did you mean 'vit_tiny",
        ),
        ("torchvision:resnet5", r"^torchvision has no image model 'resnet5'. Did you mean 'resnet50'\?$"),
        ("resnet18@absent.pt", r"^checkpoint absent.pt: there is no such file$"),
        ("resnet18@absent.pt#ema", r"^checkpoint absent.pt: there is no such file$"),
        ("absent.py:net", r"^model 'absent.py:net': there is no file .*absent.py$"),
        ("hf:/absent", r"^hf:/absent: there is no such folder or file$"),
    ],
)
def test_what_is_not_is_refused(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        find_model(text)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def small(): pass\ndef large(): pass\n", False),
        ("def small(): pass\nsmalll = small\n", True),
        ("from elsewhere import other as smalll\n", True),
        ("from elsewhere import *\n", True),
        ("from elsewhere import (*)\n", True),
        ("for size in 'l', 'll':\n    globals()['smal' + size] = print\n", True),
        ("import sys\nsetattr(sys.modules[__name__], 'smal' + 'll', print)\n", True),
        ("def __getattr__(name): return print\n", True),
        ("def small(: pass\n", False),
        ("", False),
    ],
)
def test_a_function_is_refused_where_its_file_can_not_have_it(source, found, tmp_path):
    (tmp_path / "net.py").write_text(source)
    if found:
        find_model(f"{tmp_path}/net.py:smalll")
    else:
        with pytest.raises(ConfigError, match=r"^model '.*net.py:smalll': net.py has no function 'smalll'"):
            find_model(f"{tmp_path}/net.py:smalll")


def test_of_an_ensemble_every_file_is_looked_for(tmp_path):
    (tmp_path / "one.pt").touch()
    with pytest.raises(ConfigError, match=r"checkpoint .*two.pt: there is no such file"):
        find_model(f"resnet18@{tmp_path}/one.pt,{tmp_path}/two.pt")


def test_names_that_a_python_file_may_register_are_left_to_timm(unimported):
    find_model("no_such_name", registered=True)


def test_a_library_that_keeps_its_models_elsewhere_has_the_last_word(unimported, monkeypatch):
    monkeypatch.setattr(find, "_source_names", lambda library: (frozenset({"something"}), frozenset()))
    find_model("resnt18")
