"""keep_zeros in one process: gradients, compiled models, resumed training, `verify` and refusals."""

import copy
import gc
import weakref

import pytest
import torch
from pare_llm import keep_zeros
from pruned_networks import (
    PrunedNetwork,
    assert_exact_zeros,
    loss_of,
    norms_in_float64,
    pruned_entries,
    train,
)
from torch import nn


def test_norm_of_the_gradients_excludes_the_pruned_entries_while_gradients_accumulate() -> None:
    model = PrunedNetwork()
    keep_zeros(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for seed in range(3):
        model.loss(seed).backward()
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), 1e-3))
    masked, whole = norms_in_float64(range(3))
    assert norm == pytest.approx(masked, rel=1e-5)
    assert whole > 1.02 * masked


def test_float16_loss_scaling_unscales_a_norm_without_the_pruned_entries() -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    keep_zeros(model, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for seed in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(seed)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        if seed == 0:
            assert norm == pytest.approx(norms_in_float64(range(1))[0], rel=0.05)
        scaler.step(optimizer)
        scaler.update()
        assert_exact_zeros(model, pruned)


def test_overflow_in_the_loss_scaling_skips_a_step_and_keeps_the_zeros() -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    zeros = keep_zeros(model, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = model.norm.weight.clone()
    scaler.scale(model.loss(0) * float("inf")).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(model.norm.weight, before)
    assert zeros.verify().ok
    assert torch.equal(model.up.weight == 0, pruned["up"])


def test_compiled_models_and_compiled_steps_keep_the_zeros() -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    compiled = torch.compile(model, backend="aot_eager")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    zeros = keep_zeros(compiled, optimizer)
    assert list(zeros.masks) == ["up.weight", "down.weight"]
    step = torch.compile(optimizer.step, backend="eager")
    for seed in range(3):
        optimizer.zero_grad()
        loss_of(compiled, seed).backward()
        assert torch.count_nonzero(model.up.weight.grad[pruned["up"]]) == 0
        step()
        assert_exact_zeros(model, pruned)


def test_a_layer_that_is_frozen_at_first_keeps_its_zeros_when_it_is_trained_later() -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    model.up.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    keep_zeros(model, optimizer)
    assert not model.up.weight.requires_grad
    train(model, optimizer, 1)
    model.up.requires_grad_(True)
    model.loss(0).backward()
    assert torch.count_nonzero(model.up.weight.grad[pruned["up"]]) == 0
    optimizer.step()
    assert_exact_zeros(model, pruned)


def test_tied_linear_weights_share_one_mask_and_tied_embeddings_have_none() -> None:
    model = PrunedNetwork(hidden=12)
    model.down.weight = model.up.weight
    pruned = pruned_entries(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    zeros = keep_zeros(model, optimizer)
    assert list(zeros.masks) == ["up.weight"]
    train(model, optimizer, 3)
    assert_exact_zeros(model, pruned)
    assert model.head.weight[3, 4] != 0  # the zero of the embedding is trained


def test_masks_are_made_again_when_training_resumes() -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    keep_zeros(model, optimizer)
    train(model, optimizer, 2)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    assert set(saved[0]) == set(PrunedNetwork().state_dict())  # the masks are not in the state

    resumed = PrunedNetwork(hidden=11)
    nn.init.normal_(resumed.up.weight)
    optimizer_of_resumed = torch.optim.AdamW(resumed.parameters(), lr=0.01)
    resumed.load_state_dict(saved[0])
    optimizer_of_resumed.load_state_dict(saved[1])
    keep_zeros(resumed, optimizer_of_resumed)
    train(model, optimizer, 2, 2)
    train(resumed, optimizer_of_resumed, 2, 2)
    assert_exact_zeros(resumed, pruned)
    assert torch.equal(resumed.up.weight, model.up.weight)


def test_remove_and_the_end_of_a_with_block_let_training_fill_the_zeros() -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with keep_zeros(model, optimizer) as zeros:
        train(model, optimizer, 1)
        assert zeros.verify().ok
        assert_exact_zeros(model, pruned)
    train(model, optimizer, 1)
    result = zeros.verify()
    assert not result.ok
    assert set(result.failures) == {"up.weight", "down.weight"}
    assert torch.count_nonzero(model.up.weight[pruned["up"]]) > 0
    zeros.remove()


def test_verify_counts_the_zeros_and_names_the_weights_that_lost_some() -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    zeros = keep_zeros(model, torch.optim.SGD(model.parameters(), lr=0.1))
    count = int(pruned["up"].sum())
    assert zeros.verify().counts["up.weight"].zeros == count
    with torch.no_grad():
        model.up.weight[tuple(pruned["up"].nonzero()[0])] = 1.0
    assert zeros.verify().failures == {"up.weight": f"1 of {count} pruned entries are not zero"}


def test_a_second_call_masks_the_zeros_of_weights_that_were_pruned_further() -> None:
    model = PrunedNetwork()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    keep_zeros(model, optimizer)
    with torch.no_grad():
        model.up.weight[0] = 0.0
    keep_zeros(model, optimizer)
    train(model, optimizer, 2)
    assert torch.count_nonzero(model.up.weight[0]) == 0


def test_the_model_is_freed_although_its_hooks_were_never_removed() -> None:
    model = PrunedNetwork()
    keep_zeros(model, torch.optim.SGD(model.parameters(), lr=0.1))
    weight = weakref.ref(model.up.weight)
    del model
    gc.collect()
    assert weight() is None


def test_a_dense_model_is_refused() -> None:
    model = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="none of 1 weights has a zero; load the pruned weights"):
        keep_zeros(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_weight_of_nothing_but_zeros_is_masked_only_if_it_is_named() -> None:
    model = PrunedNetwork()
    nn.init.zeros_(model.down.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"down\.weight: all its entries are zero.*layers= or folder="):
        keep_zeros(model, optimizer)
    assert keep_zeros(model, optimizer, layers="down").masks["down.weight"].zeros == 132


def test_a_named_weight_without_zeros_is_refused() -> None:
    model = PrunedNetwork()
    nn.init.ones_(model.up.weight)
    with pytest.raises(ValueError, match=r"up\.weight: has no zero; load the pruned weights"):
        keep_zeros(model, torch.optim.SGD(model.parameters(), lr=0.1), layers=["up", "down"])


def test_weights_on_the_meta_device_are_refused() -> None:
    with torch.device("meta"):
        model = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="weight: is on the meta device"):
        keep_zeros(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_an_object_that_is_no_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match=r"optimizer: must be a torch\.optim\.Optimizer.*not Linear"):
        keep_zeros(PrunedNetwork(), nn.Linear(1, 1))


def test_parameters_that_the_model_no_longer_has_are_reported_and_end_the_training() -> None:
    model = PrunedNetwork()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    zeros = keep_zeros(model, optimizer)
    state = {name: torch.ones_like(values) for name, values in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    result = zeros.verify()
    assert set(result.failures) == {"up.weight", "down.weight"}
    assert "is not a parameter of the model any more" in str(result)
    with pytest.raises(
        RuntimeError, match=r"keep_zeros: up\.weight is not a parameter of the model any more"
    ):
        optimizer.step()


def test_apply_sets_the_zeros_again_after_weights_were_swapped_outside_of_a_step() -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    zeros = keep_zeros(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.lerp_(torch.ones_like(parameter), 0.5)
    assert not zeros.verify().ok
    zeros.apply()
    assert zeros.verify().ok
    assert_exact_zeros(model, pruned)
