"""`prune_` works on the model inside of wrappers, and without tqdm."""

import sys
import warnings
from typing import Any

import accelerate
import pytest
import torch
from pare_llm import HessianRecorder, keep_zeros, prune_, verify
from peft import LoraConfig, get_peft_model
from pruning_support import LocalClient, tiny_model, token_batches
from torch import nn


def run(model: nn.Module, **options: Any) -> None:
    prune_(model, token_batches(2), LocalClient(), method="wanda", **{"progress": False, **options})


def test_a_compiled_model_is_pruned() -> None:
    model, expected = tiny_model("llama"), tiny_model("llama")
    run(torch.compile(model))
    run(expected)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_a_model_in_data_parallel_is_pruned() -> None:
    model, expected = tiny_model("llama"), tiny_model("llama")
    run(nn.DataParallel(model))
    run(expected)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_the_base_model_of_peft_is_pruned_under_its_own_names_and_the_adapters_do_not_change() -> None:
    config = LoraConfig(target_modules=["q_proj", "fc1"], init_lora_weights=False)
    torch.manual_seed(1)
    model = get_peft_model(tiny_model("opt"), config)
    adapters = {name: values.clone() for name, values in model.named_parameters() if "lora_" in name}
    with torch.no_grad():  # the blocks are calibrated with the adapters
        expected_output = model(token_batches(1)[0]).logits
    report = prune_(model, token_batches(2), LocalClient(), method="wanda", progress=False)
    names = {name for name, module in tiny_model("opt").named_modules() if isinstance(module, nn.Linear)} - {
        "lm_head",
        "model.decoder.project_in",
        "model.decoder.project_out",
    }
    assert {layer.name for layer in report.layers} == names
    base = model.get_base_model()
    for name in names:
        module = base.get_submodule(name)
        weight = getattr(module, "base_layer", module).weight
        assert int((weight == 0).sum()) == weight.numel() // 2, name
    for name, values in model.named_parameters():
        assert "lora_" not in name or torch.equal(values, adapters[name])
    with torch.no_grad():
        assert not torch.equal(model(token_batches(1)[0]).logits, expected_output)
    assert verify(model, layers=sorted(names)).ok
    result = verify(model)
    assert set(result.counts) >= {f"{name}.weight" for name in names}
    assert not any("lora" in name or "base_layer" in name for name in [*result.counts, *result.unchecked])
    assert not any("lora" in name for name in keep_zeros(model, torch.optim.SGD(model.parameters())).masks)


def test_the_recorder_records_the_base_layers_of_peft_without_padding() -> None:
    plain, wrapped = tiny_model("opt"), get_peft_model(tiny_model("opt"), LoraConfig(target_modules=["fc1"]))
    tokens = token_batches(1)[0]
    mask = torch.ones_like(tokens)
    mask[1, 10:] = 0
    recorders = [HessianRecorder(model, "fc2") for model in (plain, wrapped)]
    for recorder, model in zip(recorders, (plain, wrapped), strict=True):
        with recorder, torch.no_grad():
            model(input_ids=tokens, attention_mask=mask)
    expected, found = (recorder.hessians for recorder in recorders)
    assert found.keys() == expected.keys()
    for name, hessian in found.items():
        assert hessian.tokens == int(mask.sum())
        torch.testing.assert_close(hessian.matrix, expected[name].matrix)


def test_a_model_with_flattened_parameters_is_refused() -> None:
    model = nn.Module()
    model._fsdp_wrapped_module = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"shard the model with torch\.distributed\.fsdp\.fully_shard"):
        run(model)


def test_a_model_on_the_meta_device_is_refused() -> None:
    model = tiny_model("llama")
    model.model.embed_tokens.to("meta")
    with pytest.raises(ValueError, match=r"model\.embed_tokens\.weight: is on the meta device.*prune_folder"):
        run(model)
    model = tiny_model("llama")
    model.model.layers[1].to("meta")
    with pytest.raises(ValueError, match=r"model\.layers\.1\.\S+: is on the meta device.*prune_folder"):
        run(model)


def test_an_offloaded_model_is_refused() -> None:
    model = tiny_model("llama")
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"accelerate has offloaded this weight to the CPU or the disk"):
        run(model)


def test_quantised_models_are_refused_by_layer() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(tiny_model("llama"), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(TypeError, match=r"layers\.0\.self_attn\.q_proj: is a quantised Linear; prune the"):
        run(model)
    model = tiny_model("llama")
    weight = torch.zeros(32, 32, dtype=torch.uint8)
    model.model.layers[1].self_attn.q_proj.weight = nn.Parameter(weight, requires_grad=False)
    with pytest.raises(TypeError, match=r"layers\.1\.self_attn\.q_proj\.weight: is stored as torch\.uint8"):
        run(model)


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_on_request(progress: bool, capsys: pytest.CaptureFixture[str]) -> None:
    run(tiny_model("llama"), progress=progress, layers=["down_proj"])
    assert ("3/3" in capsys.readouterr().err) == progress


def test_tqdm_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    model = tiny_model("llama")
    run(model, progress=True, layers=["down_proj"])
    assert int((model.model.layers[0].mlp.down_proj.weight == 0).sum()) == 32 * 48 // 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("states_device", ["cpu", "cuda"])
def test_a_model_on_a_gpu_stays_there(states_device: str) -> None:
    model, expected = tiny_model("llama").cuda(), tiny_model("llama")
    run(model, states_device=states_device)
    run(expected)
    for values, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        assert values.is_cuda
        torch.testing.assert_close(values.cpu(), wanted, rtol=1e-4, atol=1e-5)
