"""Continues texts with transformers.

The program reads one request per line of standard input, which is a JSON object. It continues the text in
float64, by always taking the most likely token:

    {"folder": FOLDER, "prompt": TEXT, "tokens": the largest number of tokens to add}
    {"prompt_tokens": [id, ...], "tokens": [id, ...] after the prompt}

If a request fails, the answer is instead:

    {"error": the traceback of the exception}
"""

import torch
import transformers
from answer_requests import answer_requests


@torch.inference_mode()
def generate(request: dict) -> dict:
    folder = request["folder"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    prompt = tokenizer(request["prompt"], return_tensors="pt").input_ids
    text = model.generate(prompt, do_sample=False, max_new_tokens=request["tokens"])
    return {"prompt_tokens": prompt[0].tolist(), "tokens": text[0, prompt.shape[1] :].tolist()}


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    answer_requests(generate)
