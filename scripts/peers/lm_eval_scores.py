"""Evaluates models on zero-shot tasks by lm-evaluation-harness, on local examples.

Prompts and metrics are those of the harness: each task includes the configuration of the harness's own task, and
replaces only the data set. The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER, "scratch": FOLDER, "name": NAME, "config": PATH, "file": PATH}

"config" is the path of the task's configuration inside the folder `tasks` of the harness, and "file" is a file of
JSON lines with examples. Configurations and caches are written into the scratch folder. The program answers with
one line, {METRIC: NUMBER}. If the request fails, the answer is {"error": the traceback of the exception}.
"""

import json
import os
import pathlib

from answer_requests import answer_requests


def evaluate(folder: str, scratch: str, name: str, config: str, file: str) -> dict[str, float]:
    os.environ["HF_HOME"] = scratch  # where the data sets are cached, read when the libraries are imported
    import lm_eval.tasks
    from lm_eval import simple_evaluate

    included = pathlib.Path(lm_eval.tasks.__file__).parent / config
    settings = {"include": str(included), "task": name, "dataset_path": "json", "dataset_name": None}
    settings |= {"dataset_kwargs": {"data_files": {"validation": file}}}
    settings |= {"training_split": None, "validation_split": "validation", "test_split": None}
    configs = pathlib.Path(scratch, "configs")
    configs.mkdir(exist_ok=True)
    (configs / f"{name}.yaml").write_text(json.dumps(settings))  # JSON is also YAML
    results = simple_evaluate(
        "hf",
        model_args={"pretrained": folder, "device": "cpu", "dtype": "float32"},
        tasks=[name],
        task_manager=lm_eval.tasks.TaskManager(include_path=str(configs), include_defaults=False),
        bootstrap_iters=10,
    )
    metrics = {key.removesuffix(",none"): value for key, value in results["results"][name].items()}
    return {key: value for key, value in metrics.items() if isinstance(value, (int, float))}


if __name__ == "__main__":
    answer_requests(lambda request: evaluate(**request))
