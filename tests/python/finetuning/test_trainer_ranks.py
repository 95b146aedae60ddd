"""KeepZerosCallback in a Trainer on two processes, with DistributedDataParallel and with DeepSpeed."""

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from pare_llm import KeepZerosCallback
from ranks import run_on_ranks
from test_trainer_callback import linear_weights, pruned_opt, trainer_of
from torch import Tensor, nn
from transformers import TrainerCallback

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed: pip install deepspeed"
)


def deepspeed_options(stage: int) -> dict[str, Any]:
    return {
        "deepspeed": {
            "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": "auto",
            "gradient_clipping": "auto",
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
        }
    }


class StepRecorder(TrainerCallback):
    """Counts the nonzeros at the end of each step. Under ZeRO-3 it gathers the weights for that."""

    def __init__(self, model: nn.Module) -> None:
        self.before = {name: weight.detach().clone() for name, weight in linear_weights(model).items()}
        self.steps = self.nonzeros = self.changed = 0

    def on_step_end(self, *arguments: Any, model: nn.Module, **kwargs: Any) -> None:
        """Count the pruned entries that are not zero, and the weights that were trained."""
        self.steps += 1
        for name, weight in linear_weights(model).items():
            value = gathered(weight)
            self.nonzeros += int(torch.count_nonzero(value[self.before[name] == 0]))
            self.changed += int((value != self.before[name]).any())


def gathered(weight: Tensor) -> Tensor:
    """Return the whole weight."""
    if not hasattr(weight, "ds_id"):
        return weight.detach()
    import deepspeed

    with deepspeed.zero.GatheredParameters(weight):
        return weight.detach().clone()


def train(options: dict[str, Any]) -> dict[str, Any]:
    model = pruned_opt()
    recorder, keeper = StepRecorder(model), KeepZerosCallback()
    with tempfile.TemporaryDirectory() as folder:
        trainer_of(Path(folder), [keeper, recorder], model, ddp_backend="gloo", **options).train()
    assert keeper.zeros is not None
    return {
        "steps": recorder.steps,
        "nonzeros": recorder.nonzeros,
        "changed": recorder.changed,
        "ok": keeper.zeros.verify().ok,
        "entries": sum(mask.entries for mask in keeper.zeros.masks.values()),
    }


# The weights have 2 · (4 · 8 · 8 + 2 · 8 · 12) entries. ZeRO-3 leaves half of them on each process.
@pytest.mark.parametrize(
    ("options", "entries"),
    [
        pytest.param({}, 896, id="DistributedDataParallel"),
        pytest.param(deepspeed_options(2), 896, id="ZeRO-2", marks=needs_deepspeed),
        pytest.param(deepspeed_options(3), 448, id="ZeRO-3", marks=needs_deepspeed),
    ],
)
def test_trainer_keeps_the_zeros_on_every_process(options: dict[str, Any], entries: int) -> None:
    for result in run_on_ranks(train, 2, options):
        assert result == {"steps": 4, "nonzeros": 0, "changed": 48, "ok": True, "entries": entries}
