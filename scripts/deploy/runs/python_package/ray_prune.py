"""Prunes a checkpoint folder on a Ray cluster.

    ray job submit --working-dir . -- python ray_prune.py MODEL TEXT OUT [HOST …]

TEXT is a file, or a folder or URL of Parquet files with a column `text`, which Ray Data reads. If the job is
stopped, the same command continues after the last finished layer.
"""

import sys
from pathlib import Path

import numpy as np
import pare_llm.ray
import ray.data
import torch
from pare_llm import calibration_windows
from transformers import AutoTokenizer, PreTrainedTokenizerBase

WINDOWS, TOKENS = 32, 256


def corpus_windows(tokenizer: PreTrainedTokenizerBase, corpus: str) -> torch.Tensor:
    """Return the first tokens of documents that are long enough, with the files in a random but fixed order.

    The nodes of the cluster tokenise the documents, and read no more of them than the windows need.
    """

    def first_tokens(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        documents = tokenizer(list(batch["text"]), verbose=False)["input_ids"]
        windows = [tokens[:TOKENS] for tokens in documents if len(tokens) >= TOKENS]
        return {"window": np.array(windows, dtype=np.int64).reshape(-1, TOKENS)}

    ray.data.DataContext.get_current().execution_options.preserve_order = True
    order = ray.data.FileShuffleConfig(seed=0)
    documents = ray.data.read_parquet(corpus, columns=["text"], shuffle=order)
    rows = documents.map_batches(first_tokens).take(WINDOWS)
    if len(rows) < WINDOWS:
        raise ValueError(
            f"{corpus}: has {len(rows)} documents of {TOKENS} tokens or more, but {WINDOWS} are needed"
        )
    return torch.from_numpy(np.stack([row["window"] for row in rows]))


model, text, out, *hosts = sys.argv[1:]
ray.init()
tokenizer = AutoTokenizer.from_pretrained(model)
if Path(text).is_file():
    windows = calibration_windows(tokenizer, text, WINDOWS, TOKENS)
else:
    windows = corpus_windows(tokenizer, text)
report = pare_llm.ray.prune(
    model,
    windows.split(1),
    out,
    hosts=hosts or ["http://127.0.0.1:8000"],
    pattern="2:4",
    journal=Path(out) / "journal",
)
print(f"{report.zeros} of {report.entries} weights in {len(report.layers)} layers are zero: {out}")
