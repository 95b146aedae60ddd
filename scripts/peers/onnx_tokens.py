"""Makes models for ONNX Runtime with pare_llm, and continues tokens with them and with transformers.

The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER, "out": FOLDER, "dense": FOLDER, "prompt": [id, ...], "count": NUMBER}

`folder` is a checkpoint in the layout gptq, and `dense` one with the weights that its codes stand for. The program
makes a model of `folder` in `out`, and answers with one line:

    {"onnx": [id, ...], "transformers": [id, ...], "versions": {LIBRARY: VERSION}}

Both lists are the `count` most likely tokens after the prompt, computed in float32. If a request fails,
the answer is instead:

    {"error": the traceback of the exception}
"""

import pathlib
import sys

import onnxruntime
import onnxruntime_genai
import torch
import transformers
from answer_requests import answer_requests

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "src/python"))

import pare_llm


def compare(request: dict) -> dict:
    pare_llm.export_onnx(request["folder"], request["out"], accuracy_level=1)
    length = len(request["prompt"]) + request["count"]
    return {
        "onnx": continue_with_onnx(request["out"], request["prompt"], length),
        "transformers": continue_with_transformers(request["dense"], request["prompt"], length),
        "versions": {
            "onnxruntime": onnxruntime.__version__,
            "onnxruntime-genai": onnxruntime_genai.__version__,
            "transformers": transformers.__version__,
        },
    }


def continue_with_onnx(folder: str, prompt: list[int], length: int) -> list[int]:
    model = onnxruntime_genai.Model(folder)
    options = onnxruntime_genai.GeneratorParams(model)
    options.set_search_options(max_length=length, min_length=length, do_sample=False)
    generator = onnxruntime_genai.Generator(model, options)
    generator.append_tokens(prompt)
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)[len(prompt) :]]


@torch.inference_mode()
def continue_with_transformers(folder: str, prompt: list[int], length: int) -> list[int]:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    output = model.generate(
        torch.tensor([prompt]), max_length=length, min_length=length, do_sample=False, num_beams=1
    )
    return output[0, len(prompt) :].tolist()


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    answer_requests(compare)
