"""The grammar of model specs."""

import os
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import visionscope
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
        ("vit_nano@#ema", "a checkpoint's file must follow '@'"),
        ("vit_nano@a.pth#", "a part of the file must follow '#'"),
        ("vit_nano@a.pth,b.pth#", "a part of the file must follow '#'"),
        ("vit_nano@~nobody_at_all/a.pth", "there is no home folder '~nobody_at_all'"),
        ("vit_nano@" + "x" * 300, "a name in a path has at most 255 bytes"),
        ("x" * 5000, "a name has at most 4095 characters; got 5000"),
        ("x" * 500, "a label has at most 200 characters; got 500, give the model one: LABEL=SPEC"),
        ("l" * 500 + "=vit_nano", "a label has at most 200 characters; got 500, give a shorter one"),
        ("vit_nano?" + "k" * 500 + "=1", "arguments are written"),
        ("a\0b", r"it can't hold control characters such as '.x00'"),
        ("a\nb", r"it can't hold control characters such as '.n'"),
        ("a@b\x1b[31m.pth", r"it can't hold control characters such as '.x1b'"),
        ("a@caf\udce9.pth", r"it can't hold bytes that are not UTF-8 such as '.udce9'; rename the file"),
        ("a\u2028b", "it can't hold line breaks"),
        ("resnet18?num_classes=-5", "num_classes must be at least 0; got -5"),
        ("resnet18?num_classes=1e3", "num_classes must be a whole number; got 1000.0"),
        ("resnet18?num_classes=True", "num_classes must be a whole number; got True"),
        ("resnet18?num_classes=1000000000000", "num_classes must be at most 1,000,000; got 1000000000000"),
        ("vit_nano?img_size=(32,1000000000)", "img_size must be at most 16,384; got .32, 1000000000."),
        ("vit_nano?embed_dim=1000000000000000", "embed_dim must be at most 1,000,000"),
        ("swin_tiny_patch4_window7_224?depths=(2,2,999999999,2)", "depths must be at most 1,000"),
        ("vit_nano?drop_rate=-0.1", "drop_rate must be at least 0.0; got -0.1"),
        ("vit_nano?drop_rate=2", "drop_rate must be at most 1.0; got 2"),
        ("vit_nano?a=" + "9" * 5000, "a: must have at most 500 characters; got 5000"),
        ("vit_nano?a=" + "9" * 300, "a: whole numbers have at most 64 bits"),
        ("vit_nano?a=0x" + "f" * 300, "a: whole numbers have at most 64 bits"),
        ("vit_nano?a=1e999", "a: must be a finite number; got inf"),
        ("vit_nano?a=(1,-1e999)", "a: must be a finite number; got -inf"),
        ("vit_nano?a=" + "(" * 400, "a: begins like a Python literal but is not one"),
        ("vit_nano?a=(1,2", "a: begins like a Python literal but is not one"),
        ("vit_nano?a=[[[[[1]]]]]", "a: tuples lie in one another 4 deep at most"),
        ("vit_nano?a=b'x'", "a: must be a number, a string, .*; got b'x', a bytes"),
        ("vit_nano?a={1,2}", "a: must be a number, .*a set"),
        ("vit_nano?a={1:b'x'}", "a: must be a number, .*a bytes"),
        ("vit_nano?a=2j", "a: must be a number, .*a complex"),
        ("vit_nano?a= &b=1", "a: a value must follow '='"),
        ("vit_nano?pretrained=True", "'pretrained' can't be set here; weights are named as in MODEL@FILE"),
        ("torchvision:resnet18?weights=DEFAULT", "'weights' can't be set here"),
        ("x=timm:resnet18?depth=1&checkpoint_path=/etc/passwd", "'checkpoint_path' can't be set here"),
        ("hf:a/b?use_pretrained_backbone=1", "'use_pretrained_backbone' can't be set here"),
    ],
)
def test_malformed_specs_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        parse_spec(text)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


def test_a_function_of_the_users_own_may_have_any_arguments() -> None:
    assert parse_spec("net.py:make?pretrained=True&num_classes=-1").arguments == {"pretrained": True, "num_classes": -1}


def test_names_of_other_scripts_and_odd_ones_are_taken() -> None:
    assert parse_spec("Größe [bold] 模型=vit_nano@ordner/gewichte é.pth").label == "Größe [bold] 模型"


def test_a_wrong_spec_is_told_before_torch_is_imported() -> None:
    code = (
        "import sys; from visionscope.models.spec import parse_spec as p; p('a?b=1@c'); print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(visionscope.__file__).parents[1])}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout == "False\n"
