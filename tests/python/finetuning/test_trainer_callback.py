"""KeepZerosCallback in a real Trainer."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pare_llm import KeepZerosCallback
from pruned_networks import tiny_opt
from torch import Tensor, nn
from transformers import OPTForCausalLM, Trainer, TrainerCallback, TrainingArguments


def pruned_opt() -> OPTForCausalLM:
    torch.manual_seed(0)
    model = tiny_opt(ffn_dim=12, init_std=0.3)
    with torch.no_grad():
        for parameter in linear_weights(model).values():
            parameter[torch.rand(parameter.shape) < 0.5] = -0.0
    return model


def linear_weights(model: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name != "lm_head"
    }


class Recorder(TrainerCallback):
    """Records the events of a run, and the nonzeros among the pruned entries at each event."""

    def __init__(self, model: nn.Module) -> None:
        self.pruned = {name: weight.detach() == 0 for name, weight in linear_weights(model).items()}
        self.events: list[str] = []
        self.nonzero_weights: dict[str, int] = {}
        self.nonzero_gradients = 0
        self.norms: list[float] = []

    def _record(self, event: str, model: nn.Module) -> None:
        self.events.append(event)
        weights = linear_weights(model)
        count = sum(int(torch.count_nonzero(weights[name][z])) for name, z in self.pruned.items())
        self.nonzero_weights[event] = self.nonzero_weights.get(event, 0) + count

    def on_pre_optimizer_step(self, *arguments: Any, model: nn.Module, **kwargs: Any) -> None:
        self._record("pre_optimizer_step", model)
        gradients = {name: weight.grad for name, weight in linear_weights(model).items()}
        for name, entries in self.pruned.items():
            assert gradients[name] is not None
            self.nonzero_gradients += int(torch.count_nonzero(gradients[name][entries]))
        squares = sum(float((p.grad.double() ** 2).sum()) for p in model.parameters() if p.grad is not None)
        self.norms.append(math.sqrt(squares))

    def on_optimizer_step(self, *arguments: Any, model: nn.Module, **kwargs: Any) -> None:
        self._record("optimizer_step", model)

    def on_step_end(self, *arguments: Any, model: nn.Module, **kwargs: Any) -> None:
        self._record("step_end", model)


class Tokens(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Random windows of tokens."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        tokens = torch.randint(32, (8,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": tokens, "labels": tokens}


def trainer_of(
    folder: Path, callbacks: list[TrainerCallback], model: OPTForCausalLM, **options: Any
) -> Trainer:
    arguments: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": [],
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": 4,
        "learning_rate": 0.01,
        "weight_decay": 0.5,
        "max_grad_norm": 0.01,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        **options,
    }
    return Trainer(model, TrainingArguments(**arguments), train_dataset=Tokens(), callbacks=callbacks)


@pytest.mark.parametrize("options", [{}, {"bf16": True}, {"optim": "adamw_torch_fused"}], ids=str)
def test_trainer_keeps_the_zeros_at_every_event(tmp_path: Path, options: dict[str, Any]) -> None:
    model = pruned_opt()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    recorder, keeper = Recorder(model), KeepZerosCallback()
    trainer = trainer_of(tmp_path, [keeper, recorder], model, **options)
    trainer.train()
    assert recorder.events == ["pre_optimizer_step", "optimizer_step", "step_end"] * 4
    assert recorder.nonzero_gradients == 0
    assert recorder.nonzero_weights == {"pre_optimizer_step": 0, "optimizer_step": 0, "step_end": 0}
    for name, weight in linear_weights(model).items():
        assert not torch.signbit(weight[recorder.pruned[name]]).any()
        assert not torch.equal(weight, before[name])
    assert keeper.zeros is not None
    assert keeper.zeros.verify().ok


def test_norm_that_the_trainer_logs_excludes_the_pruned_entries(tmp_path: Path) -> None:
    model = pruned_opt()
    trainer = trainer_of(tmp_path, [KeepZerosCallback()], model, max_grad_norm=1e9)
    recorder = Recorder(model)
    trainer.add_callback(recorder)
    trainer.train()
    logged = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
    assert logged == pytest.approx(recorder.norms, rel=1e-4)
    dense = pruned_opt()
    unmasked = Recorder(dense)
    trainer_of(tmp_path, [unmasked], dense, max_grad_norm=1e9).train()
    assert unmasked.nonzero_gradients > 0
    assert unmasked.norms[0] > 1.05 * recorder.norms[0]


def test_resumed_run_makes_the_masks_from_the_checkpoint_and_ends_in_the_same_weights(tmp_path: Path) -> None:
    model = pruned_opt()
    recorder = Recorder(model)
    trainer_of(tmp_path, [KeepZerosCallback()], model, save_strategy="steps", save_steps=2).train()

    resumed = pruned_opt()
    with torch.no_grad():
        for weight in linear_weights(resumed).values():
            weight.fill_(1.0)  # the checkpoint replaces these values before the masks are made
    trainer = trainer_of(tmp_path, [KeepZerosCallback(), recorder], resumed)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert recorder.events == ["pre_optimizer_step", "optimizer_step", "step_end"] * 2
    assert set(recorder.nonzero_weights.values()) == {0}
    for name, weight in linear_weights(resumed).items():
        torch.testing.assert_close(weight, linear_weights(model)[name])


def test_second_run_of_the_same_callback_starts_with_new_masks(tmp_path: Path) -> None:
    model, keeper = pruned_opt(), KeepZerosCallback(layers="fc1")
    trainer_of(tmp_path, [keeper], model, max_steps=1).train()
    assert keeper.zeros is not None
    first = keeper.zeros
    assert len(first.masks) == 2
    with torch.no_grad():
        model.model.decoder.layers[0].fc1.weight[0] = 0.0
    trainer_of(tmp_path, [keeper], model, max_steps=1).train()
    assert keeper.zeros is not first
    assert torch.count_nonzero(model.model.decoder.layers[0].fc1.weight[0]) == 0


def test_dense_model_is_refused_when_training_begins(tmp_path: Path) -> None:
    model = OPTForCausalLM(pruned_opt().config)
    with pytest.raises(ValueError, match="keep_zeros: none of 12 weights has a zero"):
        trainer_of(tmp_path, [KeepZerosCallback()], model).train()
