"""Arguments of wrong types. Each error names the argument, what it must be, and what was given."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pare_llm
import pytest
import torch
from pare_llm import BlockHost, Pare, PareHosts, TransportOptions
from pare_llm.edge import Jobs, Uploads, prune_by_job

# Nothing listens here, so an argument that is not checked ends in a ConnectionError.
OPTIONS = TransportOptions("http://127.0.0.1:9", retries=0)
PARE = Pare.from_options(OPTIONS)
HOSTS = PareHosts([OPTIONS])
JOBS = Jobs.from_options(OPTIONS)
UPLOADS = Uploads.from_options(OPTIONS)
BLOCKS = BlockHost(OPTIONS, "run")
WEIGHT = np.zeros((2, 4), np.float32)
MODEL = torch.nn.Sequential(torch.nn.Linear(4, 4))
BATCHES = [torch.zeros(1, 2, 4)]

# Arguments are wrong on purpose, so the functions are called without their types.
ANY: Any = pare_llm


class ReachablePare(Pare):
    """A client whose host accepts every key and all parameters."""

    def check(self, *queries: Any) -> None:
        pass


def prune(**wrong: Any) -> None:
    given = {
        "model": MODEL,
        "batches": BATCHES,
        "client": ReachablePare("http://host"),
        "blocks": ["0"],
        **wrong,
    }
    ANY.prune_(**given)


def create(**wrong: Any) -> None:
    given: dict[str, Any] = {"config": {}, "tensors": {}, "windows": [[1, 2]], **wrong}
    BLOCKS.create(given.pop("config"), given.pop("tensors"), given.pop("windows"), **given)


CASES: dict[str, Callable[[], object]] = {
    "base_url: must be a string, got int": lambda: ANY.Pare(5),
    "api_key: must be a string or None, got bytes": lambda: ANY.Pare("http://host", b"secret"),
    "retries: must be an integer that is at least 0, got float 1.5": lambda: ANY.Pare(retries=1.5),
    "retries: must be at least 0, got -1": lambda: Pare(retries=-1),
    "backoff_ms: must be a number, got str '1'": lambda: ANY.Pare(backoff_ms="1"),
    "timeout: must be a number or None, got bool True": lambda: ANY.Pare(timeout=True),
    "timeout: must be positive or None, got nan": lambda: Pare(timeout=float("nan")),
    "timeout: must be positive or None, got 0": lambda: Pare(timeout=0),
    "backoff_ms: must be at least 0, got -1": lambda: Pare(backoff_ms=-1),
    "on_retry: must be a function or None, got int 5": lambda: ANY.Pare(on_retry=5),
    "on_job: must be a function or None, got int 5": lambda: ANY.Pare(on_job=5),
    "ssl_context: must be an ssl.SSLContext or None, got bool True": lambda: ANY.Pare(ssl_context=True),
    "options: must be TransportOptions, got str": lambda: ANY.BlockHost("http://host", "run"),
    "weight: must be a torch tensor or a NumPy array, got NoneType": lambda: PARE.prune_layer(None),
    "hessian: must be a torch tensor or a NumPy array, got int": lambda: PARE.prune_layer(WEIGHT, hessian=5),
    "hessian_upper: must be a torch tensor or a NumPy array, got NoneType": lambda: PARE.put_hessian(None),
    "digest: must be a string, got int 5": lambda: PARE.delete_hessian(5),
    "hosts: must be a list of URLs or of TransportOptions, got str": lambda: PareHosts("http://host"),
    "hosts[1]: must be a URL, options or a Pare, got int 5": lambda: ANY.PareHosts(["http://host", 5]),
    "on_host_lost: must be a function or None, got int 5": lambda: ANY.PareHosts([OPTIONS], on_host_lost=5),
    "layers: cannot be sent as JSON: Object of type ndarray": lambda: JOBS.submit([{"weight": WEIGHT}]),
    "layers: must be a list of layers, got int 5": lambda: JOBS.submit(5),
    "name: must be a string or None, got int 5": lambda: JOBS.submit([], name=5),
    "job_id: must be a string, got int 5": lambda: JOBS.get(5),
    "poll_ms: must be a number, got str '1'": lambda: list(JOBS.follow("id", poll_ms="1")),
    "like: must be a torch tensor or a NumPy array, got int": lambda: JOBS.result({}, 5),
    "source: must be bytes, a list of buffers, or a path such as": lambda: UPLOADS.upload_blob("a.bin"),
    "source[1]: must be bytes or a memoryview, got int 5": lambda: UPLOADS.upload_blob([b"", 5]),
    "concurrency: must be at least 1, got 0": lambda: UPLOADS.upload_blob(b"", concurrency=0),
    "resume: must be an UploadProgress or None, got str 'id'": lambda: UPLOADS.upload_blob(b"", resume="id"),
    "layers[0]: must be a LayerToUpload, got ndarray": lambda: list(
        prune_by_job(OPTIONS, cast("Any", [WEIGHT]))
    ),
    "config: cannot be sent as JSON: Object of type ndarray": lambda: create(config={"a": WEIGHT}),
    "tensors: must be a dictionary of tensors, got list": lambda: create(tensors=[WEIGHT]),
    "windows: must be at least one list of token ids: list index": lambda: create(windows=[]),
    "windows: must be at least one list of token ids: 'float'": lambda: create(windows=[[1.5]]),
    "windows: must be at least one list of token ids: can't convert negative": lambda: create(windows=[[-1]]),
    "validation_windows: must be at least one list of token ids: 'int'": lambda: create(validation_windows=5),
    "tensors: must be the tensors of the block, got an empty dictionary": lambda: BLOCKS.run(0, {}),
    "layers: must be the parameters of layers, or None, got list": lambda: BLOCKS.run(0, {"a": WEIGHT}, []),
    "model: must be a torch.nn.Module, got str 'opt'": lambda: prune(model="opt"),
    "batches: must be batches that can be iterated, got int 5": lambda: prune(batches=5),
    "validation: must be a share of the windows, or batches, got None": lambda: prune(validation=None),
    "client: must be a Pare, a PareHosts or a list of Pare, got str": lambda: prune(client="http://host"),
    "client[0]: must be a Pare, got PareHosts": lambda: prune(client=[HOSTS]),
    "blocks: must be a list of names or modules, got str '0'": lambda: prune(blocks="0"),
    "blocks[0]: must be a name or a module, got int 0": lambda: prune(blocks=[0]),
    "layers: must be a string or a list of strings, got int 5": lambda: prune(layers=5),
    "ignore[0]: must be a string, got int 5": lambda: prune(ignore=[5]),
    "true_sequential: must be True or False, got int 1": lambda: prune(true_sequential=1),
    "journal: must be a path, got int 5": lambda: prune(journal=5),
    "on_layer: must be a function or None, got int 5": lambda: prune(on_layer=5),
    "out: must be a path, got None": lambda: ANY.prune_folder(Path(), BATCHES, PARE, None),
    "folder: must be a path, got None": lambda: ANY.load(None),
    "in_features: must be an integer that is at least 0, got str '4'": lambda: ANY.Hessian("4"),
    "inputs: must be a torch tensor, got list": lambda: ANY.Hessian(4).add([1.0]),
}


@pytest.mark.parametrize("message", CASES)
def test_an_argument_of_a_wrong_type_is_named(message: str) -> None:
    with pytest.raises((TypeError, ValueError, IndexError, OverflowError), match="^" + re.escape(message)):
        CASES[message]()
