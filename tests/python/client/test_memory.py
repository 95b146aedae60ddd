"""How much memory the client allocates while it sends and receives a layer."""

import tracemalloc

import numpy as np
import pytest
import torch
from pare_llm import Pare
from pare_llm.client.layer_file import encode_parts

from client.fake_server import FakeServer, Received, Reply, solved

ROWS, COLS = 2048, 4096
WEIGHT_BYTES = 4 * ROWS * COLS


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_layer_is_sent_without_a_copy_and_received_into_one_buffer(library: str) -> None:
    weight = np.ones((ROWS, COLS), np.float32)
    solution = solved(Received("POST", "", {}, b"".join(encode_parts({"weight": weight})), ("", 0)))
    server = FakeServer(Reply(503), solution, keeps_bodies=False)
    pare = Pare(server.url, retries=0)
    tensor = torch.from_numpy(weight) if library == "torch" else weight
    try:
        tracemalloc.start()
        with pytest.raises(Exception, match="503"):
            pare.prune_layer(tensor, method="magnitude")
        _, sending_peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        pruned = pare.prune_layer(tensor, method="magnitude")
        held, receiving_peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        server.close()
    # tracemalloc does not see the memory of torch, so the mask counts for NumPy only.
    mask_bytes = ROWS * COLS if library == "numpy" else 0
    answer_bytes = len(solution.body)
    assert sending_peak < 0.05 * WEIGHT_BYTES
    assert receiving_peak < answer_bytes + mask_bytes + 0.05 * WEIGHT_BYTES
    assert held > answer_bytes
    np.testing.assert_array_equal(np.asarray(pruned.weight) != 0, np.asarray(pruned.mask))
