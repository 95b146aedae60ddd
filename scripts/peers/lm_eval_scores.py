"""Evaluates models on zero-shot tasks by lm-evaluation-harness, on local examples.

Prompts and metrics are those of the harness: each task includes the configuration of the harness's own task, and
replaces only the data set. The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER, "scratch": FOLDER, "tasks": [{"name": NAME, "config": PATH, "file": PATH}, ...]}

"config" is the path of the task's configuration inside the folder `tasks` of the harness, and "file" is a file of
JSON lines with examples. Configurations and caches are written into the scratch folder. The program answers with
one line:

    {NAME: {"likelihoods": [[NUMBER, ...], ...], "greedy": [[BOOL, ...], ...], "metrics": {METRIC: NUMBER}}}

There is one list per example, with one entry per choice: the log-likelihood in nats, computed in float64, and
whether greedy decoding would generate the choice. If the request fails, the answer is instead:

    {"error": the traceback of the exception}
"""

import json
import os
import pathlib

from answer_requests import answer_requests


def evaluate(folder: str, scratch: str, tasks: list[dict]) -> dict:
    os.environ["HF_HOME"] = scratch  # where the data sets are cached, read when the libraries are imported
    import torch
    import transformers
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    configs = pathlib.Path(scratch, "configs")
    configs.mkdir()
    for task in tasks:
        write_config(configs, **task)
    results = simple_evaluate(
        HFLM(pretrained=model, tokenizer=tokenizer, device="cpu", batch_size=8),
        tasks=[task["name"] for task in tasks],
        task_manager=TaskManager(include_path=str(configs), include_defaults=False),
        bootstrap_iters=10,
    )
    return {task["name"]: scores(task["name"], results) for task in tasks}


def write_config(folder: pathlib.Path, name: str, config: str, file: str) -> None:
    import lm_eval.tasks

    included = pathlib.Path(lm_eval.tasks.__file__).parent / config
    data = {"data_files": {"validation": file}}
    settings = {"include": str(included), "task": name, "dataset_path": "json", "dataset_name": None}
    settings |= {"dataset_kwargs": data, "training_split": None, "validation_split": "validation", "test_split": None}
    # JSON is also YAML, which is the format of the configurations.
    (folder / f"{name}.yaml").write_text(json.dumps(settings))


def scores(name: str, results: dict) -> dict:
    samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
    # A task with choices has one response per choice, and each has one result. LAMBADA has one response.
    responses = [[result for response in sample["resps"] for result in response] for sample in samples]
    metrics = {key.removesuffix(",none"): value for key, value in results["results"][name].items()}
    return {
        "likelihoods": [[float(likelihood) for likelihood, _ in choices] for choices in responses],
        "greedy": [[bool(greedy) for _, greedy in choices] for choices in responses],
        "metrics": {key: value for key, value in metrics.items() if isinstance(value, (int, float))},
    }


if __name__ == "__main__":
    answer_requests(lambda request: evaluate(**request))
