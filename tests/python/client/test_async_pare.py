"""The client for asyncio, against a real host."""

import asyncio

import numpy as np
import pytest
from conftest import HostProcess
from pare_llm import AsyncPare, Pare, PareError

from client.layers import bits_of, hessian_of, random_layer, upper_of


def test_layers_can_be_pruned_at_the_same_time(host: HostProcess) -> None:
    layers = [random_layer(seed) for seed in range(4)]

    async def prune_all() -> list[np.ndarray]:
        async with AsyncPare(host.url) as pare:
            pruned = await asyncio.gather(
                *(pare.prune_layer(weight, inputs=inputs) for weight, inputs in layers)
            )
        return [layer.weight for layer in pruned]

    weights = asyncio.run(prune_all())
    pare = Pare(host.url)
    for result, (weight, inputs) in zip(weights, layers, strict=True):
        np.testing.assert_array_equal(
            bits_of(result), bits_of(pare.prune_layer(weight, inputs=inputs).weight)
        )


def test_statistics_are_stored_and_deleted(host: HostProcess) -> None:
    weight, inputs = random_layer(seed=5)

    async def run() -> None:
        pare = AsyncPare(host.url)
        upper = upper_of(hessian_of(inputs))
        digest = await pare.put_hessian(upper, validation_hessian_upper=upper)
        pruned = await pare.prune_layer(weight, hessian=digest)
        sent = await pare.prune_layer(weight, hessian_upper=upper, validation_hessian_upper=upper)
        assert pruned.report["validation_loss"] == sent.report["validation_loss"]
        await pare.delete_hessian(digest)
        with pytest.raises(PareError, match="hessian_not_found"):
            await pare.prune_layer(weight, hessian=digest)
        assert (await pare.describe_host()).backend == "cpu"

    asyncio.run(run())
