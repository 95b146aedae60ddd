"""Compares the names and the defaults of the Python client with those of the TypeScript SDK."""

import inspect
import json
import re
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

import pare_llm
import pare_llm.edge
import pytest
from conftest import run_deno
from pare_llm import AsyncPare, Pare, PareHosts, TransportOptions
from pare_llm.client.answers import Report, Seconds
from pare_llm.client.errors import STATUSES
from pare_llm.client.jobs import messages
from pare_llm.client.layer import LayerTensors
from pare_llm.edge import Jobs, Uploads

# The names that the Python client does not have.
ABSENT = {
    "ConnectionError": "Python has the built-in ConnectionError",
    "MalformedAnswerError": "Python has the built-in ValueError",
    "ModelPruner": "prune_ has the loop over the layers of a model",
    "PareJobs": "a layer over the limit of an edge is pruned by a job, and prune_ has a journal",
    "SafetensorsError": "the library safetensors reads and writes files",
    "decode": "the library safetensors reads and writes files",
    "encode": "the library safetensors reads and writes files",
    "floatsFromTensor": "NumPy and torch have arrays",
    "hessianUpper": "HessianRecorder records statistics",
    "tensorFromFloats": "NumPy and torch have arrays",
    "fetch": "a test can run a server in the same process",
    "application": "a server in Python's process is no TypeScript application",
    "signal": "the client has a timeout, and Ctrl-C ends a call",
}


@pytest.fixture(scope="module")
def typescript() -> dict[str, Any]:
    """Return the public surface of the TypeScript SDK."""
    surface: dict[str, Any] = json.loads(run_deno("tests/python/client/typescript_surface.ts"))
    return surface


def snake_case(name: str) -> str:
    return name if name[0].isupper() else re.sub("[A-Z]", lambda match: "_" + match[0].lower(), name)


def snake_cased(names: Any) -> list[str]:
    return sorted(snake_case(name) for name in names if name not in ABSENT)


def parameters_of(function: Any) -> dict[str, Any]:
    """Return the keyword parameters of a function with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "self"}


def test_every_exported_class_and_function_has_a_counterpart(typescript: dict[str, Any]) -> None:
    names = snake_cased(typescript["exports"])
    assert len(names) >= 8
    for name in names:
        assert callable(getattr(pare_llm.edge if hasattr(pare_llm.edge, name) else pare_llm, name))


CLASSES = [
    Pare,
    AsyncPare,
    PareHosts,
    pare_llm.BlockHost,
    Jobs,
    Uploads,
    pare_llm.Runs,
    pare_llm.PareError,
    pare_llm.edge.JobFailedError,
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_method_has_a_counterpart(typescript: dict[str, Any], kind: type) -> None:
    methods = typescript["methods"]["Pare" if kind is AsyncPare else kind.__name__]
    assert len(methods) >= 1
    for name in methods:
        assert hasattr(kind, snake_case(name))


def test_prune_corresponds_to_prune_model(typescript: dict[str, Any]) -> None:
    assert "pruneModel" in typescript["methods"]["ModelPruner"]
    assert "client" in parameters_of(pare_llm.prune_)


def test_the_async_client_has_the_methods_of_the_synchronous_one() -> None:
    names = [name for name, _ in inspect.getmembers(Pare, inspect.isfunction) if name[0] != "_"]
    assert "prune_layer" in names
    for name in names:
        assert inspect.signature(getattr(AsyncPare, name)) == inspect.signature(getattr(Pare, name))
    for name in ("prune_layer", "put_hessian", "delete_hessian"):
        assert set(parameters_of(getattr(PareHosts, name))) == set(parameters_of(getattr(Pare, name)))


def test_the_transport_has_the_options_and_the_defaults_of_the_typescript_transport(
    typescript: dict[str, Any],
) -> None:
    options = {field.name: field.default for field in fields(TransportOptions)}
    expected = typescript["options"]["TransportOptions"]
    # Python has a timeout, because it has no AbortSignal, and certificates, because it takes no `fetch`.
    assert sorted([*snake_cased(expected), "timeout", "ssl_context"]) == sorted(options)
    for name, default in expected.items():
        if name not in ABSENT and default is not None:
            assert options[snake_case(name)] == float(default)
    for client in (Pare, AsyncPare, Jobs, Uploads):
        defaults = parameters_of(client)
        assert list(defaults) == list(options)
        assert [defaults[name] for name in list(options)[1:]] == list(options.values())[1:]


@pytest.mark.parametrize(
    ("interface", "function"),
    [
        ("SubmitOptions", Jobs.submit),
        ("FollowOptions", Jobs.follow),
        ("CreateOptions", pare_llm.Runs.create),
        ("FollowOptions", pare_llm.Runs.follow),
        ("ListOptions", Jobs.list),
        ("UploadOptions", Uploads.upload_blob),
        ("PareHostsOptions", PareHosts),
        ("SubmitOptions", pare_llm.edge.prune_by_job),
        ("FollowOptions", pare_llm.edge.prune_by_job),
    ],
)
def test_a_function_has_the_options_and_the_defaults_of_its_counterpart(
    typescript: dict[str, Any], interface: str, function: Any
) -> None:
    parameters = parameters_of(function)
    for name, default in typescript["options"][interface].items():
        if name in ABSENT:
            continue
        assert snake_case(name) in parameters
        if default is not None and re.fullmatch("[0-9]+", default):
            assert parameters[snake_case(name)] == int(default)


def choices_of(kind: Any) -> list[str]:
    """Return the texts that a parameter may be, also if it may be a number instead."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [choice for part in get_args(kind) for choice in choices_of(part)]


def test_a_layer_has_the_tensors_and_the_parameters_of_the_contract(typescript: dict[str, Any]) -> None:
    assert set(typescript["options"]["LayerTensors"]) == {"weight", *LayerTensors.__annotations__}
    query = pare_llm.LayerQuery.__annotations__
    assert sorted([*query, "hessian"]) == sorted(typescript["layerQuery"])
    assert sorted([*query, "hessian"]) == sorted(typescript["options"]["LayerQuery"])
    choices = {name: values for name, kind in query.items() if (values := choices_of(kind))}
    assert choices == typescript["layerQueryChoices"]


@pytest.mark.parametrize(
    ("interface", "python"),
    [
        ("PrunedLayer", pare_llm.PrunedLayer),
        ("QuantizedWeight", pare_llm.QuantizedWeight),
        ("HostDescription", pare_llm.HostDescription),
        ("UploadProgress", pare_llm.edge.UploadProgress),
        ("JobLayerRequest", pare_llm.edge.JobLayerRequest),
    ],
)
def test_a_record_has_the_members_of_its_counterpart(
    typescript: dict[str, Any], interface: str, python: Any
) -> None:
    # The Python client refuses the pattern columns, whose answers have the member `kept`.
    members = set(typescript["options"][interface]) - {"kept"}
    assert sorted(members) == sorted(inspect.get_annotations(python))


def test_the_messages_have_the_members_of_the_schemas(typescript: dict[str, Any]) -> None:
    assert sorted(Report.__annotations__) == sorted(typescript["report"])
    assert list(Seconds.__annotations__) == typescript["reportSeconds"]
    assert set(messages.Job.__annotations__) <= set(typescript["job"])
    assert set(messages.LayerState.__annotations__) <= set(typescript["jobLayer"])
    assert set(messages.EdgeHost.__annotations__) <= set(typescript["host"])
    assert set(pare_llm.Run.__annotations__) == set(typescript["options"]["Run"])
    assert set(pare_llm.RunFile.__annotations__) == set(typescript["options"]["RunFile"])


def test_every_error_code_has_its_status(typescript: dict[str, Any]) -> None:
    assert typescript["statuses"].items() <= STATUSES.items()
