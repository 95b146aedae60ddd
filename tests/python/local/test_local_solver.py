"""A layer that this process solves is the layer of a host and of the float64 reference."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from client.layers import hessian_of, random_layer, upper_of
from conftest import HostProcess, run_deno
from pare_llm import NotPositiveDefiniteError, Pare
from pare_llm.local.local_solver import LocalSolver

REFERENCE = "tests/python/local/reference_layer.ts"
DEAD = 7
CASES: list[dict[str, Any]] = [
    {},
    {"sparsity": 0.7, "damping": 0.1},
    {"sparsity": 0.0, "bits": 3},
    {"pattern": "2:4"},
    {"pattern": "3:8", "bits": 4, "group_size": 16},
    {"bits": 4},
    {"bits": 4, "group_size": 32},
    {"bits": 2, "group_size": 64, "symmetric": True},
    {"method": "magnitude"},
    {"method": "magnitude", "pattern": "1:4"},
    {"method": "magnitude", "bits": 4, "symmetric": True},
    {"method": "wanda", "sparsity": 0.6},
    {"method": "wanda", "pattern": "2:4", "bits": 4, "group_size": 8},
]
# The weights are up to 4, and a rounding error of float32 is at most 2.4e-7 of them.
TOLERANCE = 1e-5


def layer(rows: int = 40, cols: int = 150) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return a weight, and the packed statistics of fitted and of held-out inputs. One input is always 0."""
    weight, inputs = random_layer(3, rows, cols)
    _, held_out = random_layer(4, 1, cols)
    inputs[:, DEAD] = held_out[:, DEAD] = 0
    names = ("hessian_upper", "validation_hessian_upper")
    uppers = [torch.from_numpy(upper_of(hessian_of(each))) for each in (inputs, inputs + held_out / 2)]
    return torch.from_numpy(weight), dict(zip(names, uppers, strict=True))


# With 256 rows or more, a sample of the rows decides what is compared by validation statistics.
@pytest.mark.parametrize(
    ("rows", "cols", "is_validated"), [(40, 150, False), (40, 150, True), (300, 33, True)]
)
@pytest.mark.parametrize("query", CASES, ids=str)
def test_a_layer_has_the_mask_and_the_weights_of_a_host(
    query: dict[str, Any], rows: int, cols: int, is_validated: bool, host: HostProcess
) -> None:
    weight, statistics = layer(rows, cols)
    if not is_validated:
        del statistics["validation_hessian_upper"]
    local = LocalSolver().prune_layer(weight, **statistics, **query)
    expected = Pare(host.url).prune_layer(weight, **statistics, **query)
    assert torch.equal(local.mask, expected.mask)
    torch.testing.assert_close(local.weight, expected.weight, rtol=0, atol=TOLERANCE)
    assert expected.report.keys() <= local.report.keys()
    for name in ("method", "rows", "cols", "pattern", "sparsity", "zeros", "damping"):
        assert local.report[name] == expected.report[name]
    for name in ("validation_choice", "nearest_rows"):
        assert local.report.get(name) == expected.report.get(name)
    losses = ["loss", "relative_error", *["validation_loss", "validation_error"][: 2 * is_validated]]
    assert [local.report[name] for name in losses] == pytest.approx(
        [expected.report[name] for name in losses], rel=1e-5
    )


@pytest.mark.parametrize("query", CASES, ids=str)
def test_a_layer_has_the_mask_and_the_weights_of_the_float64_reference(
    query: dict[str, Any], tmp_path: Path
) -> None:
    weight, inputs = random_layer(5, 24, 150)
    inputs[:, DEAD] = 0
    hessian = hessian_of(inputs)
    size = {"rows": 24, "cols": 150}
    values = {"weight": weight.flatten().tolist(), "hessian": hessian.flatten().tolist()}
    (tmp_path / "layer.json").write_text(json.dumps({"layer": {**size, **values}, "query": query}))
    expected = json.loads(run_deno(REFERENCE, tmp_path / "layer.json"))
    upper = torch.from_numpy(upper_of(hessian))
    local = LocalSolver().prune_layer(torch.from_numpy(weight), hessian_upper=upper, **query)
    assert local.mask.flatten().int().tolist() == expected["mask"]
    q = torch.tensor(expected["q"]).view_as(local.weight)
    torch.testing.assert_close(local.weight, q, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_layer_keeps_its_dtype_and_has_the_weights_of_a_host(dtype: torch.dtype, host: HostProcess) -> None:
    weight, statistics = layer()
    local, expected = (
        client.prune_layer(weight.to(dtype), **statistics, sparsity=0.6)
        for client in (LocalSolver(), Pare(host.url))
    )
    assert local.weight.dtype == dtype
    assert torch.equal(local.mask, expected.mask)
    assert local.report["loss"] == pytest.approx(expected.report["loss"], rel=1e-4)


def test_layers_that_share_statistics_share_the_factor_until_it_is_deleted() -> None:
    weight, statistics = layer()
    solver = LocalSolver()
    digest = solver.put_hessian(statistics["hessian_upper"])
    reused = [solver.prune_layer(weight, hessian=digest).report["factor_reused"] for _ in range(2)]
    assert reused == [False, True]
    assert not solver.prune_layer(weight, hessian=digest, damping=0.1).report["factor_reused"]
    solver.delete_hessian(digest)
    with pytest.raises(KeyError):
        solver.prune_layer(weight, hessian=digest)


def test_the_damping_grows_until_the_hessian_is_positive_definite() -> None:
    weight, upper = torch.randn(4, 2), torch.tensor([1.0, 1.05, 1.0])
    assert LocalSolver().prune_layer(weight, hessian_upper=upper, damping=0).report["damping"] == 0.1
    with pytest.raises(NotPositiveDefiniteError, match="2 inputs cannot be factored with the damping 1"):
        LocalSolver().prune_layer(weight, hessian_upper=torch.tensor([1.0, 3.0, 1.0]))


@pytest.mark.parametrize("query", [{}, {"method": "wanda"}, {"method": "magnitude", "bits": 4}], ids=str)
def test_a_layer_that_needs_statistics_is_refused_without_them(query: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"hessian_upper: .* needs statistics to prune or round a layer"):
        LocalSolver().prune_layer(layer()[0], **query)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    weight, statistics = layer()
    upper = statistics["hessian_upper"]
    with pytest.raises(ValueError, match="hessian: must be finite"):
        LocalSolver().prune_layer(weight, hessian_upper=torch.where(upper == upper[1], value, upper))
    weight[3, 5] = value
    with pytest.raises(ValueError, match=r"weight: must be finite in torch\.float32"):
        LocalSolver().prune_layer(weight, hessian_upper=upper)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"method": "alps"}, r"method=alps: needs a host\. Start one with `deno task serve`"),
        ({"method": "obc"}, "method=obc: needs a host"),
        ({"damping": "auto"}, "damping=auto: needs a host"),
        ({"refit": 5}, "refit=5: needs a host"),
        ({"effort": "best"}, "effort=best: needs a host"),
        ({"bits": 4, "scale_bits": 6, "group_size": 32}, "scale_bits=6: needs a host"),
        ({"bits": 4, "scale_dtype": "F16"}, "scale_dtype=F16: needs a host"),
        ({"bits": 4, "order": "activation"}, "order=activation: needs a host"),
        ({"bits": 4, "ranges": "minmax"}, "ranges=minmax: needs a host"),
        ({"blocksize": 64}, "blocksize=64: needs a host"),
        ({"mask": torch.ones(1, dtype=torch.bool)}, r"mask=.*: needs a host"),
        ({"target": torch.ones(1)}, r"target=.*: needs a host"),
        ({"sparsity": 1.0}, "sparsity: must be from 0 to below 1, got 1.0"),
        ({"sparsity": -0.1}, "sparsity: must be from 0 to below 1, got -0.1"),
        ({"bits": 9}, "bits: must be from 2 to 8, got 9"),
        ({"damping": 2}, "damping: must be from 0 to 1, got 2"),
        ({"pattern": "4:2"}, "pattern: must be n:m with 1 ≤ n < m ≤ 128, got '4:2'"),
        ({"pattern": "0:4"}, "pattern: must be n:m"),
        ({"pattern": "two"}, "pattern: must be n:m"),
        ({"pattern": "2:4", "sparsity": 0.6}, "sparsity: must be 0.5 with pattern 2:4, got 0.6"),
        ({"pattern": "2:4", "bits": 4, "group_size": 6}, "group_size: must be a multiple of 4"),
        ({"group_size": 32}, "bits: must be given with group_size or symmetric, got None"),
    ],
    ids=str,
)
def test_a_parameter_that_needs_a_host_or_breaks_a_rule_is_named(query: dict[str, Any], problem: str) -> None:
    weight, statistics = layer(8, 16)
    with pytest.raises(ValueError, match=problem):
        LocalSolver().prune_layer(weight, **statistics, **query)
