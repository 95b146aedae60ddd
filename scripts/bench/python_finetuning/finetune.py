"""Fine-tunes a pruned model in one of several ways, and saves the result as a checkpoint in f32.

    finetune.py WAY FOLDER WINDOWS OUT
    torchrun --nproc-per-node 2 finetune.py ddp|fsdp2 FOLDER WINDOWS OUT

WAY is `ddp`, `fsdp2`, `trainer`, `lora`, or `dense`, which trains the dense model as `trainer` does. WINDOWS
is a JSON list of windows of token ids. All ways see the same windows in the same order, eight per step.

After each step, the pruned entries of every weight are compared with +0.0, bit by bit. The masks of this
comparison are made here, without the package. The last line of standard output is a JSON object with the
number of steps, and with the number of entries that had other bits.
"""

import copy
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import peft
import torch
import torch.distributed as dist
import transformers
from pare_llm import KeepZeros, keep_zeros, mask_lora_, merge_keep_zeros
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

WINDOWS_PER_STEP = 8
EPOCHS = 1
LEARNING_RATE = 4e-4
LORA_LEARNING_RATE = 4e-3
LORA_RANK = 16
WEIGHT_DECAY = 0.01
MAX_NORM = 1.0


class ZeroCheck:
    """Compares the pruned entries of a model with +0.0, bit by bit."""

    def __init__(self, model: nn.Module) -> None:
        """Remember which entries of the weights of the linear layers are zero."""
        self.weights = {
            name: module.weight
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and "lora_" not in name and name != "lm_head"
        }
        self.pruned = {name: weight.detach() == 0 for name, weight in self.weights.items()}
        self.steps = 0
        self.nonzeros = 0

    def __call__(self, model: nn.Module) -> None:
        """Count the pruned entries whose bits are not those of +0.0."""
        self.steps += 1
        modules = dict(model.named_modules())
        for name, entries in self.pruned.items():
            weight = modules[name].weight.detach()
            whole = weight.full_tensor() if isinstance(weight, DTensor) else weight
            self.nonzeros += int(torch.count_nonzero(whole[entries].view(torch.int32)))


def finetune(way: str, folder: str, windows: Tensor, out: str) -> ZeroCheck:
    """Run one way, and save the model."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    check = ZeroCheck(model)
    if way in ("ddp", "fsdp2"):
        train_on_ranks(way, model, folder, windows, check)
    elif way == "lora":
        model = train_lora(model, folder, windows, check)
    else:
        callbacks = [] if way == "dense" else [KeepZeros(folder=folder), CheckCallback(check)]
        train_with_trainer(model, windows, callbacks, LEARNING_RATE)
    if way == "fsdp2":
        state = {name: value.full_tensor() for name, value in model.state_dict().items()}
    else:
        state = model.state_dict()
    if not dist.is_initialized() or dist.get_rank() == 0:
        model.save_pretrained(out, state_dict=state)
        shutil.copy(Path(folder, "tokenizer.json"), out)
    return check


def train_on_ranks(way: str, model: nn.Module, folder: str, windows: Tensor, check: ZeroCheck) -> None:
    """Train with DistributedDataParallel or FSDP2. Each rank has an equal part of the windows of a step."""
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    trained = model
    if way == "ddp":
        trained = DistributedDataParallel(model)
    else:
        for block in model.model.decoder.layers:
            fully_shard(block)
        fully_shard(model)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * (len(windows) // WINDOWS_PER_STEP)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    with keep_zeros(trained, optimizer, folder=folder) as zeros:
        for batch in batches(windows):
            part = batch.chunk(ranks)[rank]
            trained(input_ids=part, labels=part).loss.backward()
            nn.utils.clip_grad_norm_(trained.parameters(), MAX_NORM)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            check(model)
        assert zeros.verify().ok


def batches(windows: Tensor) -> Iterator[Tensor]:
    """Yield the windows of each step, in a random order that is the same for all ways."""
    for epoch in range(EPOCHS):
        yield from windows[shuffled(len(windows), epoch)].split(WINDOWS_PER_STEP)


def shuffled(count: int, epoch: int) -> Tensor:
    """Return a random order of whole steps."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(epoch))
    return order[: count - count % WINDOWS_PER_STEP]


def train_with_trainer(
    model: PreTrainedModel, windows: Tensor, callbacks: list[TrainerCallback], learning_rate: float
) -> None:
    """Train with the Trainer of transformers, in one process."""
    data = [{"input_ids": window, "labels": window} for batch in batches(windows) for window in batch]
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            report_to=[],
            per_device_train_batch_size=WINDOWS_PER_STEP,
            num_train_epochs=1,
            learning_rate=learning_rate,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=MAX_NORM,
            lr_scheduler_type="linear",
            train_sampling_strategy="sequential",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        Trainer(model, arguments, train_dataset=data, callbacks=callbacks).train()


class CheckCallback(TrainerCallback):
    """Runs a check after each step of a Trainer."""

    def __init__(self, check: Callable[[nn.Module], None]) -> None:
        """Run `check` with the model."""
        self.check = check

    def on_step_end(self, *arguments: object, model: nn.Module, **kwargs: object) -> None:
        """Run the check."""
        self.check(model)


def train_lora(model: PreTrainedModel, folder: str, windows: Tensor, check: ZeroCheck) -> nn.Module:
    """Train masked LoRA adapters of all linear layers, and merge them."""
    targets = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
    config = LoraConfig(r=LORA_RANK, lora_alpha=LORA_RANK, lora_dropout=0.05, target_modules=targets)
    adapted = get_peft_model(model, config)
    mask_lora_(adapted, folder=folder)

    def check_merged(_: nn.Module) -> None:
        check(merge_keep_zeros(copy.deepcopy(adapted), folder=folder))

    train_with_trainer(adapted, windows, [CheckCallback(check_merged)], LORA_LEARNING_RATE)
    return merge_keep_zeros(adapted, folder=folder)


def main(way: str, folder: str, windows_file: str, out: str) -> None:
    """Run one way, and print what the check found."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    windows = torch.tensor(json.loads(Path(windows_file).read_text()))
    check = finetune(way, folder, windows, out)
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    if dist.is_initialized():
        dist.destroy_process_group()
    if is_first:
        pruned = sum(int(entries.sum()) for entries in check.pruned.values())
        versions = {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        }
        report = {"steps": check.steps, "pruned": pruned, "nonzeros": check.nonzeros, "versions": versions}
        print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
