"""Continues texts with transformers, or measures its speed.

The program reads one request per line of standard input, which is a JSON object. The first kind continues a
text in float64, by always taking the most likely token:

    {"folder": FOLDER, "prompt": TEXT, "tokens": the largest number of tokens to add}
    {"prompt_tokens": [id, ...], "tokens": [id, ...] after the prompt}

The second kind measures the speed in float32. A model stays in memory after its first request:

    {"folder": FOLDER, "prompt": number of tokens, "generate": number of tokens, "threads": number}
    {"seconds": {"prompt": the time of the prompt, "generated": the time of the generated tokens}}

If a request fails, the answer is instead:

    {"error": the traceback of the exception}
"""

import functools
import time

import torch
import transformers
from answer_requests import answer_requests


@torch.inference_mode()
def handle(request: dict) -> dict:
    return measure_speed(request) if "threads" in request else generate(request)


def generate(request: dict) -> dict:
    folder = request["folder"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    prompt = tokenizer(request["prompt"], return_tensors="pt").input_ids
    text = model.generate(prompt, do_sample=False, max_new_tokens=request["tokens"])
    return {"prompt_tokens": prompt[0].tolist(), "tokens": text[0, prompt.shape[1] :].tolist()}


def measure_speed(request: dict) -> dict:
    torch.set_num_threads(request["threads"])
    model = load(request["folder"])
    tokens = torch.arange(request["prompt"])[None] + 10
    begin = time.perf_counter()
    out = model(tokens, use_cache=True, logits_to_keep=1)
    middle = time.perf_counter()
    for _ in range(request["generate"]):
        token = out.logits[:, -1:].argmax(-1)
        out = model(token, past_key_values=out.past_key_values, use_cache=True)
    return {"seconds": {"prompt": middle - begin, "generated": time.perf_counter() - middle}}


@functools.cache
def load(folder: str) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    answer_requests(handle)
