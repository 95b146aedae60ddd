"""`prune_` prunes block by block: the outputs of each pruned block are the inputs of the next one."""

from typing import Any

import pytest
import torch
from pare_llm import HessianRecorder, hold_out
from pruning_support import TINY_CONFIGS, LocalClient, require_equal, run, tiny_model, token_batches
from torch import Tensor, nn
from torch.nn.functional import pad

BLOCK_LISTS = {"opt": "model.decoder.layers", "gpt2": "transformer.h", "bloom": "transformer.h"}
BLOCK_LISTS |= {"gpt_neox": "gpt_neox.layers"}


def reference_hessians(model: Any, blocks: nn.ModuleList, batches: list[Any]) -> list[Tensor]:
    """Prune `model` in place, and return the Hessian of each layer in float64.

    For each block, the whole model runs on every batch, and hooks read the inputs of the layers of this
    block.
    """
    hessians: list[Tensor] = []
    for block in blocks:
        layers = [m for m in block.modules() if isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D"]
        sums: dict[nn.Module, Any] = dict.fromkeys(layers, 0)

        def add(module: nn.Module, args: tuple[Tensor], _: object, sums: Any = sums) -> None:
            x = args[0].detach().double().flatten(0, -2)
            sums[module] = sums[module] + x.T @ x

        hooks = [layer.register_forward_hook(add) for layer in layers]
        with torch.no_grad():
            for batch in batches:
                arguments = batch if isinstance(batch, dict) else {"input_ids": batch}
                model(**arguments, use_cache=False)
        for hook in hooks:
            hook.remove()
        for layer in layers:
            weight = layer.weight if isinstance(layer, nn.Linear) else layer.weight.T
            rows, columns = torch.triu_indices(weight.shape[1], weight.shape[1])
            upper = sums[layer].float()[rows, columns]
            pruned = LocalClient().prune_layer(weight.detach(), hessian_upper=upper, method="wanda").weight
            layer.weight.data.copy_(pruned if isinstance(layer, nn.Linear) else pruned.T)
            hessians.append(sums[layer])
    return hessians


def test_a_run_and_a_recorder_weigh_the_tokens_in_the_same_way_which_the_report_names() -> None:
    model, batches, client = tiny_model("llama"), token_batches(2), LocalClient()
    with torch.no_grad(), HessianRecorder(model, "*.0.self_attn.q_proj") as recorder:
        for batch in batches:
            model(batch)
    report = run(model, client, batches)
    assert torch.allclose(client.hessians[0], next(iter(recorder.hessians.values())).matrix, rtol=1e-4)
    assert report.to_dict()["parameters"]["token_weights"] == "unit"


@pytest.mark.parametrize("true_sequential", [False, True])
def test_held_out_batches_are_summed_on_their_own(true_sequential: bool) -> None:
    fitted, held_out = token_batches(5)[:3], token_batches(5)[3:]
    with_held_out, without, of_held_out = LocalClient(), LocalClient(), LocalClient()
    options: Any = {"true_sequential": true_sequential}
    model, expected = tiny_model("opt"), tiny_model("opt")
    report = run(model, with_held_out, iter(fitted), validation=iter(held_out), **options)
    run(expected, without, fitted, **options)
    assert report.to_dict()["calibration"]["validation_samples"] == sum(len(batch) for batch in held_out)
    require_equal(model, expected)
    for one, other in zip(with_held_out.hessians, without.hessians, strict=True):
        assert torch.equal(one, other)
    assert without.validation == [None] * len(without.hessians)
    # Before a layer is pruned, the inputs of the first group are those of a run on the held-out batches.
    run(tiny_model("opt"), of_held_out, held_out, **options)
    first, size = of_held_out.hessians[0], len(of_held_out.hessians[0])
    assert None not in with_held_out.validation
    upper = with_held_out.validation[0]
    assert upper is not None
    rows, columns = torch.triu_indices(size, size)
    assert torch.equal(upper, first[rows, columns])


@pytest.mark.parametrize("rows", [1, 3, 20])
def test_one_window_in_eight_is_held_out_by_default(rows: int) -> None:
    windows = torch.cat(token_batches(10))
    batches: list[Any] = [{"input_ids": batch} for batch in windows.split(rows)]
    by_default, explicit, without = LocalClient(), LocalClient(), LocalClient()
    report = run(tiny_model("opt"), by_default, batches)
    fitted, held_out = hold_out(windows)
    run(tiny_model("opt"), explicit, [fitted], validation=[held_out])
    assert (report.facts.samples, report.facts.validation_samples, len(held_out)) == (20, 2, 2)
    for one, other in zip(by_default.hessians[:4], explicit.hessians, strict=False):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    found, expected = by_default.validation[0], explicit.validation[0]
    assert found is not None
    assert expected is not None
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for off in (0, ()):
        report = run(tiny_model("opt"), without, batches, validation=off)
        assert (report.facts.samples, report.facts.validation_samples) == (20, 0)
    assert set(without.validation) == {None}


def test_of_fewer_than_eight_windows_none_is_held_out() -> None:
    report = run(tiny_model("opt"), batches=token_batches(7, rows=1))
    assert report.facts.validation_samples == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0.6}, r"share of held-out windows: must be from 0 to 0\.5, got 0\.6"),
        (
            {"batches": [], "validation": token_batches(1)},
            "batches: the method wanda needs at least one batch, got none",
        ),
    ],
)
def test_held_out_windows_that_cannot_be_used_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(tiny_model("opt"), **options)


@pytest.mark.parametrize("kind", TINY_CONFIGS)
def test_hessians_and_weights_are_those_of_whole_forward_passes(kind: str) -> None:
    model, expected = tiny_model(kind), tiny_model(kind)
    batches = token_batches(3)
    client = LocalClient()
    report = run(model, client, batches, token_weights="none")
    blocks = expected.get_submodule(BLOCK_LISTS.get(kind, "model.layers"))
    hessians = reference_hessians(expected, blocks, batches)
    assert len(client.hessians) == len(hessians) == len(report.layers)
    for layer, found, wanted in zip(report.layers, client.hessians, hessians, strict=True):
        deviation = (found.double() - wanted).abs().max() / wanted.abs().max()
        assert deviation < 1e-5, f"{layer.name}: the Hessian deviates by {deviation:.1e}"
    require_equal(model, expected)
    assert model.config.use_cache == expected.config.use_cache
    assert not client.stored


LENGTHS = (16, 9, 5)


def padded_batch(sequences: list[Tensor], *, left: bool) -> dict[str, Tensor]:
    """Return the sequences as one batch, padded with a token that has an embedding of its own."""
    longest = max(len(sequence) for sequence in sequences)
    amounts = [longest - len(sequence) for sequence in sequences]
    sides = [(amount, 0) if left else (0, amount) for amount in amounts]
    ids = [pad(sequence, side, value=7) for sequence, side in zip(sequences, sides, strict=True)]
    masks = [pad(torch.ones_like(s), side) for s, side in zip(sequences, sides, strict=True)]
    return {"input_ids": torch.stack(ids), "attention_mask": torch.stack(masks)}


@pytest.mark.parametrize("kind", ["llama", "opt", "bloom", "gpt2"])
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_statistics_of_a_padded_batch_are_those_of_its_sequences(kind: str, left: bool) -> None:
    sequences = [token_batches(1, rows=1, tokens=n, seed=n)[0][0] for n in LENGTHS]
    single, padded = LocalClient(), LocalClient()
    model, other = tiny_model(kind), tiny_model(kind)
    batch = padded_batch(sequences, left=left)
    if kind == "gpt2":  # this model numbers positions without regard to the mask
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    run(model, single, [s[None] for s in sequences])
    run(other, padded, [batch])
    for one, both in zip(single.hessians, padded.hessians, strict=True):
        assert (one - both).abs().max() < 1e-4 * one.abs().max()
