"""Layers with a target, which a real host prunes."""

from typing import Any

import numpy as np
import pytest
from conftest import HostProcess
from pare_llm import Pare, PareHosts

from client.layers import bits_of, hessian_of, random_layer, to_library, upper_of


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_weights_move_towards_the_target(host: HostProcess, library: str) -> None:
    weight, inputs = random_layer()
    wanted, _ = random_layer(seed=1)
    hessian = hessian_of(inputs)
    target = to_library(library, (wanted.astype(np.float64) @ hessian).astype(np.float32))
    options: Any = {"target": target, "target_step": 1, "damping": 1e-4, "sparsity": 0.0}
    given = to_library(library, weight)
    pruned = Pare(host.url).prune_layer(given, hessian=to_library(library, hessian), **options)
    difference, before = np.asarray(pruned.weight) - wanted, weight - wanted
    error, error_before = (np.trace(each @ hessian @ each.T) for each in (difference, before))
    assert error < 1e-3 * error_before
    change = pruned.report["target_change"]
    scale = np.trace(weight @ hessian @ weight.T)
    assert change["result"] == pytest.approx((error - error_before) / scale, rel=1e-3)
    hosts = PareHosts([host.url])
    digest = hosts.put_hessian(to_library(library, upper_of(hessian)))
    stored = hosts.prune_layer(given, hessian=digest, **options)
    np.testing.assert_array_equal(bits_of(stored.weight), bits_of(pruned.weight))
