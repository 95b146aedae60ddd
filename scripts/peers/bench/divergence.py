"""Compares what a model predicts with what the dense model predicts from which it was made.

The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER of the dense model, "model": FOLDER or GGUF file, "windows": {KIND: [[id, ...], ...]}}

transformers reads the weights of both as float32 and computes both, so that only the weights differ. llama.cpp itself also
rounds the inputs of layers to 8 bits. The windows of a kind of text have equal lengths. The program answers with one line:

    {"perplexities": {KIND: NUMBER}, "divergences": {KIND: NUMBER}}

A divergence is the mean over all predicted tokens of KL(p || q), the sum of p·ln(p / q) over the vocabulary, in nats. p
are the probabilities that the dense model gives the next token, and q those of the model. Without "model", the answer is
about the dense model itself. If a request fails, the answer is {"error": the traceback of the exception}.
"""

import math
import pathlib

import torch
import transformers
from answer_requests import answer_requests

# The logits of two models for a batch take 4·2·8·256·V bytes, 200 MB with a vocabulary of 50 thousand tokens.
BATCH_TOKENS = 2048


@torch.inference_mode()
def answer(request: dict) -> dict:
    dense = load(request["folder"])
    model = load(request["model"]) if "model" in request else dense
    perplexities, divergences = {}, {}
    for kind, windows in request["windows"].items():
        loss = divergence = count = 0
        for batch in torch.tensor(windows).split(max(1, BATCH_TOKENS // len(windows[0]))):
            p, q = (predict(each, batch) for each in (dense, model))
            loss -= q.gather(-1, batch[:, 1:, None]).double().sum().item()
            divergence += (p.exp() * (p - q)).double().sum().item()
            count += batch[:, 1:].numel()
        perplexities[kind], divergences[kind] = math.exp(loss / count), divergence / count
    return {"perplexities": perplexities, "divergences": divergences}


def load(path: str):
    file = pathlib.Path(path)
    place = [file.parent, {"gguf_file": file.name}] if file.is_file() else [file, {}]
    return transformers.AutoModelForCausalLM.from_pretrained(place[0], dtype=torch.float32, **place[1]).eval()


def predict(model, batch: torch.Tensor) -> torch.Tensor:
    """Returns the logarithms of the probabilities of every token that has one before it."""
    return torch.log_softmax(model(batch).logits[:, :-1], dim=-1)


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    answer_requests(answer)
