"""`visionscope harmonize`: what it prints, what it writes, what it refuses."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from visionscope.building import measure
from visionscope.building.measure import Throughput, costs, throughput
from visionscope.cli import main
from visionscope.errors import ConfigError
from visionscope.models.load import load_model
from visionscope.models.surgery import changes_of


def test_the_plan_and_what_it_costs_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["harmonize", "resnet_nano", "--msa", "0,1,1", "--extend", "0,0,1", "--batch", "2", "--device", "cpu"])
        == 0
    )
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line.startswith("│")]
    assert rows[:3] == [
        ["1", "16x16", "32", "conv x 2", "conv x 2", "-", "-", "-"],
        ["2", "8x8", "64", "conv x 2", "conv, msa", "6", "16", "4x4"],
        ["3", "4x4", "128", "conv x 2", "conv x 2, msa", "12", "16", "4x4"],
    ]
    assert [row[0] for row in rows[3:]] == [
        "parameters, million",
        "GMACs of an image",
        "memory traffic of an image, MB",
        "peak memory of an image, MB",
        "forward, images/s",
        "training step, images/s",
    ]
    assert all(float(cell) > 0 for row in rows[3:] for cell in row[1:])
    assert re.search(r"32x32 px; images/s in float32 on cpu, \d+ threads?, batch 2, the fastest of 3", said)
    assert "Nothing is written without --out" in said


def test_a_mixer_is_named_in_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["harmonize", "resnet_nano", "--msa", "0,0,1", "--mixer", "identity", "--batch", "2"]) == 0
    assert "mix:identity" in capsys.readouterr().out
    assert main(["harmonize", "resnet_nano", "--msa", "0,0,1", "--mixer", "identty"]) == 2
    assert "mixer: there is no mixer 'identty'. Did you mean 'identity'?" in capsys.readouterr().err


def test_mixers_are_listed_with_their_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "mixer:learned*"]) == 0
    said = capsys.readouterr().out
    (row,) = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line.startswith("│")]
    assert row[0] == "learned_blur"
    assert row[2:] == ["always", "no", "2", "ours"]
    assert main(["models", "mixer:lerned_blur"]) == 2
    assert "no mixer matches 'lerned_blur'. Did you mean 'learned_blur'?" in capsys.readouterr().err


def test_the_file_that_it_writes_loads_under_the_originals_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = Throughput(forward=1.0, training=1.0, batch=2, threads=1, device="cpu", repeats=3)
    monkeypatch.setattr(measure, "throughput", lambda networks, *_, **__: dict.fromkeys(networks, speed))
    out = tmp_path / "with-attention.safetensors"
    arguments = ["--msa", "0,1,1", "--batch", "2", "--device", "cpu", "--random-weights", "4", "--out", str(out)]
    assert main(["harmonize", "resnet_nano", *arguments]) == 0
    assert f"new weights in layer2.1, layer3.1. Load it as resnet_nano@{out}" in capsys.readouterr().out
    written, original = load_model(f"resnet_nano@{out}"), load_model("resnet_nano", random_weights=4)
    assert [change.path for change in changes_of(written.model)] == ["layer2.1", "layer3.1"]
    assert torch.equal(written.model.conv1[0].weight, original.model.conv1[0].weight)
    assert written.digest != original.digest
    assert written.architecture != original.architecture


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--msa", "0,one"], "msa: each must be an integer from 0 to 1000; got 'one'"),
        (["--msa", "0,1,2"], "msa of stage 3 must be at most half of its blocks.*The largest is 1"),
        (["--msa", "0,1,1", "--heads", "3,3,3"], "num_heads: must grow from stage to stage"),
        (["--msa", "0,1,1", "--out", "x.pt"], "out: must end with .safetensors; got 'x.pt'"),
        (
            ["--msa", "0,1,1", "--out", "nowhere/x.safetensors"],
            "out: there is no folder nowhere; got 'nowhere/x.safetensors'",
        ),
        (["--msa", "0,1,1", "--batch", "1"], "batch: must be an integer from 2 to 65536; got 1"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["harmonize", "resnet_nano", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(message, said)


def test_a_network_without_weights_of_its_own_needs_some(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["harmonize", "resnet_20_cifar", "--msa", "0,1,1", "--out", "x.safetensors"]) == 2
    said = capsys.readouterr().err
    assert re.search("resnet_20_cifar: no pretrained weights are available.*--random-weights", said)


class Product(nn.Module):
    """One convolution and one attention, whose multiplications can be counted by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.conv(x).flatten(2).transpose(1, 2)[:, None]
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).flatten(1)


def test_multiplications_are_counted_with_those_of_attention() -> None:
    positions = 6 * 8
    by_hand = positions * 3 * 4 * 9 + 2 * positions**2 * 4
    counted = costs(Product(), (6, 8))
    assert counted.gmacs * 1e9 == pytest.approx(by_hand)
    assert counted.parameters == 3 * 4 * 9 + 4


def test_measuring_leaves_the_networks_as_they_were() -> None:
    model = load_model("resnet_nano", random_weights=0).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measured = throughput({"nano": model}, (32, 32), batch=2, repeats=1)["nano"]
    assert measured.forward > 0
    assert measured.training > 0
    assert (measured.batch, measured.repeats, measured.device) == (2, 1, "cpu")
    assert [name for name, value in model.state_dict().items() if not torch.equal(before[name], value)] == []
    assert not model.training
    with pytest.raises(ConfigError, match="repeats must be 1 or more; got 0"):
        throughput({"nano": model}, (32, 32), repeats=0)


def test_what_else_the_machine_does_slows_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"quiet": iter((9.0, 4.0, 4.0, 4.0) * 2), "disturbed": iter((9.0, 5.0, 2.0, 8.0) * 2)}
    clock = 0.0

    def run(name: str) -> None:
        nonlocal clock
        clock += next(seconds[name])

    monkeypatch.setattr("visionscope.building.measure.time.perf_counter", lambda: clock)
    for part in ("_forward", "_step"):
        monkeypatch.setattr(f"visionscope.building.measure.{part}", lambda network, images: lambda: run(network.label))
    networks = {name: nn.Identity() for name in seconds}
    for name, network in networks.items():
        network.label = name
    found = throughput(networks, (4, 4), batch=8, repeats=3)
    assert {name: (one.forward, one.training) for name, one in found.items()} == {"quiet": (2, 2), "disturbed": (4, 4)}


@pytest.mark.parametrize("kind", ["a file of weights", "an empty file", "a folder", "a link to nowhere"])
def test_nothing_that_is_there_is_written_over(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visionscope.commands.harmonize._loaded", None)  # no work is done before
    out = tmp_path / "good.safetensors"
    if kind == "a folder":
        out.mkdir()
    elif kind == "a link to nowhere":
        out.symlink_to("nowhere")
    else:
        out.write_bytes(b"weights" if kind == "a file of weights" else b"")
    before = out.lstat()
    assert main(["harmonize", "resnet_nano", "--msa", "0,1,1", "--random-weights", "0", "--out", str(out)]) == 2
    assert capsys.readouterr().err == (f"visionscope: out: {out} is there already; take another name, or remove it\n")
    assert out.lstat() == before
