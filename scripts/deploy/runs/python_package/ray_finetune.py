"""Trains a pruned model further on the workers of a Ray cluster, and keeps its zeros.

ray job submit --working-dir . -- python ray_finetune.py MODEL TEXT OUT
"""

import sys
from pathlib import Path
from typing import Any

import ray.train
import torch
from pare_llm import KeepZerosCallback
from ray.train.torch import TorchTrainer
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

WORKERS, TOKENS = 2, 256


def train(config: dict[str, Any]) -> None:
    """Train on one worker. Ray has initialised `torch.distributed`, so the Trainer uses all workers."""
    model = AutoModelForCausalLM.from_pretrained(config["model"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(config["model"])
    tokens = torch.tensor(tokenizer.encode(Path(config["text"]).read_text()))
    windows = tokens[: len(tokens) // TOKENS * TOKENS].view(-1, TOKENS)
    arguments = TrainingArguments(
        config["out"], max_steps=config["steps"], learning_rate=1e-4, save_strategy="no", report_to="none"
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=[{"input_ids": window, "labels": window} for window in windows],
        processing_class=tokenizer,
        callbacks=[KeepZerosCallback()],
    )
    trainer.train()
    trainer.save_model()  # on the first worker only


if __name__ == "__main__":
    model, text, out, *steps = sys.argv[1:]
    TorchTrainer(
        train,
        train_loop_config={"model": model, "text": text, "out": out, "steps": int(*steps or [1000])},
        scaling_config=ray.train.ScalingConfig(num_workers=WORKERS, use_gpu=torch.cuda.is_available()),
    ).fit()
