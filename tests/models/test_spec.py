"""The grammar of model specs."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionscope.errors import ConfigError
from visionscope.models.spec import ModelSpec, parse_spec

WORD = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=8).filter(str.isidentifier)
VALUE = st.one_of(
    st.integers(-1000, 1000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text(string.ascii_letters, max_size=6),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
NAME = st.one_of(
    st.tuples(st.sampled_from(["timm", "torchvision"]), WORD),
    st.tuples(st.just("hf"), st.builds("{}/{}".format, WORD, WORD)),
    st.tuples(st.just("file"), st.builds("{}/{}.py:{}".format, WORD, WORD, WORD)),
)


@given(
    label=st.text(string.ascii_letters + string.digits + " ._+-", min_size=1, max_size=10).filter(
        lambda text: text == text.strip()
    ),
    name=NAME,
    arguments=st.dictionaries(WORD, VALUE, max_size=3),
    checkpoint=st.none() | st.builds("runs/{}.safetensors".format, WORD),
)
def test_a_spec_written_out_is_read_back(
    label: str, name: tuple[str, str], arguments: dict[str, object], checkpoint: str | None
) -> None:
    path = None if checkpoint is None else Path(checkpoint)
    spec = ModelSpec(label=label, source=name[0], name=name[1], arguments=arguments, checkpoint=path)
    assert parse_spec(f"{label}={spec.text}") == spec


@pytest.mark.parametrize(
    ("text", "source", "name", "label"),
    [
        ("resnet50", "timm", "resnet50", "resnet50"),
        ("timm:resnet50.a1_in1k", "timm", "resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("torchvision:vit_b_16", "torchvision", "vit_b_16", "torchvision:vit_b_16"),
        ("hf:facebook/deit-tiny", "hf", "facebook/deit-tiny", "hf:facebook/deit-tiny"),
        ("hf:./models/mine/config.json", "hf", "./models/mine/config.json", "hf:mine"),
        ("/home/me/net.py:make", "file", "/home/me/net.py:make", "net.py:make"),
        ("vit_nano@run/last.safetensors", "timm", "vit_nano", "vit_nano@last"),
        ("vit_nano?depth=3", "timm", "vit_nano", "vit_nano?depth=3"),
        ("My ViT=vit_nano@run/last.pth.tar", "timm", "vit_nano", "My ViT"),
    ],
)
def test_sources_names_and_labels(text: str, source: str, name: str, label: str) -> None:
    spec = parse_spec(text)
    assert (spec.source, spec.name, spec.label) == (source, name, label)


def test_arguments_are_python_literals_and_else_strings() -> None:
    spec = parse_spec("x?a=1&b=1e-3&c=True&d=false&e=avg&f=(2,3)&g=None&h='1'")
    assert dict(spec.arguments) == {
        "a": 1, "b": 1e-3, "c": True, "d": False, "e": "avg", "f": (2, 3), "g": None, "h": "1",
    }  # fmt: skip


def test_a_part_of_a_file_is_kept_with_it() -> None:
    spec = parse_spec("vit_nano@runs/last.pth#model_ema")
    assert spec.checkpoint == Path("runs/last.pth#model_ema")
    assert (spec.label, spec.text) == ("vit_nano@last#model_ema", "timm:vit_nano@runs/last.pth#model_ema")


def test_a_home_folder_is_expanded_in_the_checkpoint() -> None:
    assert parse_spec("vit_nano@~/last.pth").checkpoint == Path.home() / "last.pth"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the name of a model is missing; the form is"),
        ("label=", "the name of a model is missing"),
        ("?depth=3", "the name of a model is missing"),
        ("vit_nano@", "a checkpoint's file must follow '@'"),
        ("timm:", "the name of a model must follow 'timm:'"),
        ("tim:resnet50", "there is no source 'tim'. Did you mean 'timm'?"),
        ("net.py", r"name the function that returns the model: net.py:FUNCTION"),
        ("net.py:", "'' is not the name of a function in net.py"),
        ("net.py:a b", "'a b' is not the name of a function in net.py"),
        ("vit_nano?depth", "arguments are written [?]KEY=VALUE&KEY=VALUE; got 'depth'"),
        ("vit_nano?", "got ''"),
        ("vit_nano?depth=", "got 'depth='"),
        ("vit_nano?a=1&a=2", "argument 'a' is given twice"),
    ],
)
def test_malformed_specs_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        parse_spec(text)
    assert "\n" not in str(raised.value)
