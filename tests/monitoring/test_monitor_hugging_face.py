"""A monitor as a callback of Hugging Face's Trainer: with its callback handler, and the Trainer itself."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import Tensor

import visionscope as vs
from monitoring.test_monitor_plain import IMAGES, LABELS, SMALL_SHARPNESS, WITH_UPDATES, bits, check_updates

transformers = pytest.importorskip("transformers")


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            image_size=16,
            patch_size=4,
            num_labels=4,
            hidden_dropout_prob=0.1,
        )
    )


class Driver:
    """The Trainer's order of events around a plain loop, with its own handler, flow and state: it needs accelerate."""

    def __init__(self) -> None:
        module = transformers.trainer_callback
        self.args = SimpleNamespace(
            logging_first_step=False,
            logging_strategy="steps",
            eval_strategy="no",
            save_strategy="no",
        )
        self.state, self.control = module.TrainerState(logging_steps=1, max_steps=6), module.TrainerControl()
        self.model = network()
        self.handler = module.CallbackHandler([module.DefaultFlowCallback], self.model, None, None, None)

    def log(self, logs: dict[str, float]) -> None:
        self.state.log_history.append({**logs, "step": self.state.global_step})
        self.control = self.handler.on_log(self.args, self.state, self.control, logs)

    def train(self) -> object:
        torch.manual_seed(1)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        given = (self.args, self.state)
        self.model.train()
        self.handler.on_train_begin(*given, self.control)
        for step in range(6):
            self.handler.on_step_begin(*given, self.control)
            loss = self.model(pixel_values=IMAGES, labels=LABELS).loss
            loss.backward()
            optimizer.step()
            self.model.zero_grad()
            self.state.global_step, self.state.epoch = step + 1, (step + 1) / 3
            self.control = self.handler.on_step_end(*given, self.control)
            if step % 3 == 2:
                self.control = self.handler.on_epoch_end(*given, self.control)
            if self.control.should_log:
                self.log({"loss": loss.item()})
        self.handler.on_train_end(*given, self.control)
        return bits(
            {
                "weights": self.model.state_dict(),
                "optimizer": optimizer.state_dict()["state"],
                "modes": [one.training for one in self.model.modules()],
                "torch": torch.get_rng_state(),
            }
        )


def monitor(out: Path) -> vs.Monitor:
    return vs.Monitor(IMAGES, LABELS, diagnostics=WITH_UPDATES, fields=SMALL_SHARPNESS, at_most=None, out=out)


def check(rows: pd.DataFrame, history: list[dict[str, float]]) -> None:
    assert rows.groupby("step")["epoch"].unique().map(list).to_dict() == {0: [0], 3: [1], 6: [2]}
    for kind in ("msa", "mlp"):
        told = rows[rows["column"] == f"variance after {kind}"].set_index("step")["value"].to_dict()
        name = f"variance/variance_after_{kind}"
        assert {one["step"]: one[name] for one in history if name in one} == told
    check_updates(rows, [3, 6])
    assert [one["step"] for one in history if "loss" in one] == [1, 2, 3, 4, 5, 6]  # none is lost


def test_as_the_trainer_calls_it(tmp_path: Path) -> None:
    alone, watched = Driver(), Driver()
    callback = monitor(tmp_path).hugging_face(watched)
    watched.handler.add_callback(callback)
    assert watched.train() == alone.train()
    check(pd.read_parquet(tmp_path / "monitor.parquet"), watched.state.log_history)


class Images(torch.utils.data.Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return {"pixel_values": IMAGES[number], "labels": LABELS[number]}


def test_in_the_real_trainer(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")

    def trained(*, watched: bool) -> tuple[object, list[dict[str, float]]]:
        args = transformers.TrainingArguments(
            output_dir=str(tmp_path / "trainer"),
            num_train_epochs=2,
            per_device_train_batch_size=11,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(network(), args, train_dataset=Images())
        if watched:
            trainer.add_callback(monitor(tmp_path).hugging_face(trainer))
        trainer.train()
        left = {"weights": trainer.model.state_dict(), "torch": torch.get_rng_state()}
        return bits(left | {"optimizer": trainer.optimizer.state_dict()["state"]}), trainer.state.log_history

    left, history = trained(watched=True)
    assert left == trained(watched=False)[0]
    check(pd.read_parquet(tmp_path / "monitor.parquet"), history)
