"""Layers that a real host prunes: each dtype, each library, and each kind of statistics."""

import json
import urllib.request
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import HostProcess
from pare_llm import Pare, PareError, PareHosts
from torch import distributed
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

from client.layers import COLS, ROWS, bits_of, hessian_of, random_layer, to_library, upper_of

LIBRARIES = ["numpy", "torch"]


def post(url: str, query: str, tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], Any]:
    """Send a layer without this package, and return the tensors and the report of the answer."""
    request = urllib.request.Request(
        f"{url}/v1/layers?{query}",
        data=safetensors.torch.save(tensors),
        headers={"Content-Type": "application/vnd.safetensors"},
    )
    with urllib.request.urlopen(request) as response:
        return safetensors.torch.load(response.read()), json.loads(response.headers["Pare-Report"])


def unpack(bits: torch.Tensor) -> np.ndarray:
    return np.unpackbits(bits.numpy(), axis=1, count=COLS, bitorder="little").astype(bool)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_result_has_the_bits_of_the_answer_of_the_host(
    host: HostProcess, pare: Pare, library: str, dtype: str
) -> None:
    weight, inputs = random_layer()
    expected, report = post(
        host.url,
        "sparsity=0.6",
        {"weight": to_library("torch", weight, dtype), "inputs": torch.from_numpy(inputs)},
    )
    pruned = pare.prune_layer(
        to_library(library, weight, dtype), inputs=to_library(library, inputs), sparsity=0.6
    )
    assert type(pruned.weight) is type(to_library(library, weight))
    assert pruned.weight.dtype == to_library(library, weight, dtype).dtype
    assert tuple(pruned.weight.shape) == tuple(pruned.mask.shape) == (ROWS, COLS)
    np.testing.assert_array_equal(bits_of(pruned.weight), bits_of(expected["weight"]))
    np.testing.assert_array_equal(np.asarray(pruned.mask), unpack(expected["mask"]))
    assert pruned.quantized is None
    assert pruned.report["zeros"] == report["zeros"] == round(0.6 * ROWS * COLS)
    assert pruned.report["relative_error"] == report["relative_error"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_statistics_may_be_inputs_a_hessian_its_triangle_or_a_digest(pare: Pare, library: str) -> None:
    weight, inputs = random_layer()
    hessian = hessian_of(inputs)
    digest = pare.put_hessian(to_library(library, upper_of(hessian)))
    weight = to_library(library, weight)
    results = [
        pare.prune_layer(weight, hessian=to_library(library, hessian), pattern="2:4"),
        pare.prune_layer(weight, hessian_upper=to_library(library, upper_of(hessian)), pattern="2:4"),
        pare.prune_layer(weight, hessian=digest, pattern="2:4"),
        pare.prune_layer(weight, hessian=digest, pattern="2:4"),
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(bits_of(result.weight), bits_of(results[0].weight))
    assert [result.report["factor_reused"] for result in results] == [False, False, False, True]
    from_inputs = pare.prune_layer(weight, inputs=to_library(library, inputs), pattern="2:4")
    # The host sums the inputs in another order, so a few weights may be chosen differently.
    assert (np.asarray(from_inputs.mask) == np.asarray(results[0].mask)).mean() > 0.99
    pare.delete_hessian(digest)


@pytest.mark.parametrize("library", LIBRARIES)
def test_validation_statistics_decide_and_may_be_a_matrix_its_triangle_or_stored(
    pare: Pare, library: str
) -> None:
    weight, inputs = random_layer()
    upper = to_library(library, upper_of(hessian_of(inputs[:45])))
    validation = hessian_of(inputs[45:])
    validation_upper = to_library(library, upper_of(validation))
    weight = to_library(library, weight)
    digest = pare.put_hessian(upper, validation_hessian_upper=validation_upper)
    assert digest != pare.put_hessian(upper)
    hosts = PareHosts([pare])
    assert digest == hosts.put_hessian(upper, validation_upper)
    given: list[dict[str, Any]] = [
        {"hessian_upper": upper, "validation_hessian": to_library(library, validation)},
        {"hessian_upper": upper, "validation_hessian_upper": validation_upper},
        {"hessian": digest},
    ]
    results = [pare.prune_layer(weight, **statistics, pattern="2:4") for statistics in given]
    results.append(hosts.prune_layer(weight, hessian=digest, pattern="2:4"))
    for result in results:
        np.testing.assert_array_equal(bits_of(result.weight), bits_of(results[0].weight))
        delta = (np.asarray(weight) - np.asarray(result.weight)).astype(np.float64)
        loss = (delta @ validation * delta).sum()
        np.testing.assert_allclose(result.report["validation_loss"], loss, 1e-4)
    assert 0 < results[0].report["nearest_rows"] < ROWS
    plain = pare.prune_layer(weight, hessian_upper=upper)
    assert "validation_loss" not in plain.report
    with pytest.raises(PareError, match=r"shape_mismatch.*validation_hessian_upper"):
        pare.prune_layer(weight, hessian_upper=upper, validation_hessian_upper=validation_upper[1:])
    with pytest.raises(PareError, match=r"shape_mismatch.*validation_hessian"):
        pare.prune_layer(weight, hessian=digest, validation_hessian=to_library(library, validation))
    hosts.delete_hessian(digest)


@pytest.mark.parametrize("library", LIBRARIES)
def test_weights_that_the_mask_excludes_stay_pruned(pare: Pare, library: str) -> None:
    weight, inputs = random_layer()
    allowed = np.random.default_rng(1).random((ROWS, COLS)) < 0.7
    mask = torch.from_numpy(allowed) if library == "torch" else allowed
    pruned = pare.prune_layer(
        to_library(library, weight), inputs=to_library(library, inputs), mask=mask, sparsity=0.5
    )
    kept = np.asarray(pruned.mask)
    assert not (kept & ~allowed).any()
    assert kept.sum() == ROWS * COLS // 2
    assert (np.asarray(pruned.weight)[~kept] == 0).all()
    exact = pare.prune_layer(to_library(library, weight), inputs=to_library(library, inputs), mask=mask)
    np.testing.assert_array_equal(np.asarray(exact.mask), allowed)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_rounded_weight_lies_on_its_grid(pare: Pare, library: str) -> None:
    weight, inputs = random_layer()
    pruned = pare.prune_layer(
        to_library(library, weight), inputs=to_library(library, inputs), sparsity=0.5, bits=4, group_size=20
    )
    assert pruned.quantized is not None
    codes, scales, zeros = (
        np.asarray(part, np.float32)
        for part in (pruned.quantized.codes, pruned.quantized.scales, pruned.quantized.zeros)
    )
    assert codes.shape == (ROWS, COLS)
    assert codes.max() <= 15
    assert scales.shape == zeros.shape == (ROWS, 2)
    grid = (codes - zeros.repeat(20, axis=1)) * scales.repeat(20, axis=1)
    kept = np.asarray(pruned.mask)
    np.testing.assert_array_equal(np.asarray(pruned.weight)[kept], grid[kept])


def test_tensors_that_are_not_contiguous_give_the_same_result(pare: Pare) -> None:
    weight, inputs = random_layer()
    expected = pare.prune_layer(weight, inputs=inputs)
    parameter = torch.nn.Parameter(torch.from_numpy(weight.T.copy()).T)
    assert not parameter.is_contiguous()
    from_torch = pare.prune_layer(parameter, inputs=torch.from_numpy(np.asfortranarray(inputs)))
    np.testing.assert_array_equal(bits_of(from_torch.weight), bits_of(expected.weight))
    assert not isinstance(from_torch.weight, torch.nn.Parameter)
    big_endian = pare.prune_layer(weight.astype(">f4"), inputs=np.asfortranarray(inputs))
    np.testing.assert_array_equal(bits_of(big_endian.weight), bits_of(expected.weight))


def test_the_weight_of_the_answer_can_be_changed_in_place(pare: Pare) -> None:
    weight, inputs = random_layer()
    for library in LIBRARIES:
        pruned = pare.prune_layer(to_library(library, weight), inputs=to_library(library, inputs))
        pruned.weight[:] = 1
        assert (np.asarray(pruned.weight) == 1).all()


def test_a_tensor_may_be_freed_while_its_bytes_are_sent(pare: Pare) -> None:
    weight, inputs = random_layer()
    expected = pare.prune_layer(weight, inputs=inputs)
    # The arguments are temporary objects, and the copies that make them contiguous are as well.
    pruned = pare.prune_layer(torch.from_numpy(weight.T.copy()).T, inputs=torch.from_numpy(inputs.copy()))
    np.testing.assert_array_equal(bits_of(pruned.weight), bits_of(expected.weight))


def test_the_magnitude_method_needs_no_statistics(pare: Pare) -> None:
    weight, _ = random_layer()
    pruned = pare.prune_layer(weight, method="magnitude", sparsity=0.25)
    threshold = np.sort(np.abs(weight), axis=None)[ROWS * COLS // 4]
    np.testing.assert_array_equal(pruned.mask, np.abs(weight) >= threshold)
    assert pruned.report["loss"] is None


def test_the_host_describes_its_device_as_in_its_reports(pare: Pare) -> None:
    weight, _ = random_layer()
    description = pare.describe_host()
    report = pare.prune_layer(weight, method="magnitude").report
    assert (description.backend, description.adapter) == (report["backend"], report["adapter"])
    assert description.backend == "cpu"


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (np.zeros((2, 2)), "weight: has the dtype float64, but must have one of float32, float16, bfloat16"),
        (torch.zeros((2, 2), dtype=torch.int64), "weight: has the dtype int64"),
        ([[1.0, 2.0]], "weight: must be a torch tensor or a NumPy array, got list"),
    ],
)
def test_a_tensor_that_the_contract_does_not_know_is_refused_before_it_is_sent(
    pare: Pare, tensor: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        pare.prune_layer(tensor, method="magnitude")


def test_a_sharded_tensor_is_refused_because_it_has_no_data_of_its_own(pare: Pare) -> None:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        sharded = distribute_tensor(torch.ones(4, 4), mesh, [Shard(0)])
        with pytest.raises(TypeError, match=r"weight: a DTensor has no data of its own.*full_tensor\(\)"):
            pare.prune_layer(sharded, method="magnitude")
        assert pare.prune_layer(sharded.full_tensor(), method="magnitude").mask.sum() == 8
    finally:
        distributed.destroy_process_group()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_a_layer_on_a_gpu_is_answered_on_that_gpu(pare: Pare) -> None:
    weight, inputs = random_layer()
    pruned = pare.prune_layer(torch.from_numpy(weight).cuda(), inputs=torch.from_numpy(inputs).cuda())
    assert pruned.weight.is_cuda
    assert pruned.mask.is_cuda
    expected = pare.prune_layer(weight, inputs=inputs)
    np.testing.assert_array_equal(bits_of(pruned.weight.cpu()), bits_of(expected.weight))
    np.testing.assert_array_equal(pruned.mask.cpu(), expected.mask)


@pytest.mark.parametrize("method", ["sparsegpt", "magnitude", "wanda", "adaprune", "obc", "alps"])
@pytest.mark.parametrize("pattern", [None, "2:4", "3:7", "1:2"])
@pytest.mark.parametrize(
    "options", [{}, {"mask": True}, {"bits": 3, "group_size": 28}, {"dtype": "F16"}], ids=str
)
def test_the_check_of_answers_passes_the_answers_of_every_method(
    pare: Pare, method: str, pattern: str | None, options: dict[str, Any]
) -> None:
    weight, inputs = random_layer(seed=3, rows=13, cols=41)
    weight[:, 5] = weight[4] = 0
    weight[7] *= 1e-6  # becomes zero in float16
    inputs[:, 9] = 0
    allowed = np.random.default_rng(2).random(weight.shape) < 0.4
    query = {"pattern": pattern} if pattern else {"sparsity": 0.37}
    given = {**options, "mask": allowed} if "mask" in options else options
    pruned = pare.prune_layer(weight, inputs=inputs, method=method, **query, **given)  # type: ignore[arg-type]
    assert pruned.report["zeros"] == (~pruned.mask).sum() > 0


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("is_hard", [False, True])
def test_the_check_of_answers_passes_extreme_layers(
    pare: Pare, library: str, dtype: str, is_hard: bool
) -> None:
    """If the layer is hard, half of its inputs were always 0, its weights are tiny, and it has a mask."""
    queries: list[dict[str, Any]] = [
        {"sparsity": 0},
        {"sparsity": 0.999},
        {"pattern": "3:7", "dtype": "F16"},
        {"bits": 2},
        {"bits": 4, "symmetric": True, "dtype": "BF16"},
    ]
    for rows, cols in [(1, 5), (7, 13)]:
        weight, inputs = random_layer(rows=rows, cols=cols)
        mask = np.arange(rows * cols).reshape(rows, cols) % 7 > 0 if is_hard else None
        if is_hard:
            weight *= 1e-7
            inputs[:, : (cols + 1) // 2] = 0
        hessian = hessian_of(inputs)
        statistics: list[dict[str, Any]] = [
            {"hessian": hessian},
            {"hessian_upper": upper_of(hessian)},
            {"inputs": inputs},
        ]
        for index, query in enumerate(queries):
            for method in ("sparsegpt", "alps", "obc", "adaprune", "wanda", "magnitude"):
                given = {name: to_library(library, tensor) for name, tensor in statistics[index % 3].items()}
                with suppress(PareError):  # the host may refuse weights that the dtype cannot hold
                    pare.prune_layer(
                        to_library(library, weight, dtype), mask=mask, method=method, **given, **query
                    )
