"""The client of the hidden states that a host has, which runs and prunes whole blocks of a model."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from operator import index
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

from pare_llm.arguments import require, require_text, require_texts, to_json
from pare_llm.client.answers import parse_answer
from pare_llm.client.block_answer import PROBE_ROWS, BlockRequest, SolvedBlock, decode_block
from pare_llm.client.errors import PareError
from pare_llm.client.layer_file import decode, encode_parts
from pare_llm.client.tensor_library import library_of
from pare_llm.client.transport import Transport, TransportOptions
from pare_llm.client.wire_tensor import Array, Tensor, WireTensor, require_tensor

if TYPE_CHECKING:
    from pare_llm.client.layer_query import LayerQuery

# The room for the reports of an answer, in bytes.
_REPORT_BYTES = 2**24


class BlockHost:
    """The hidden states of the name `name` at the host that `options` describe.

    Example:
        >>> host = BlockHost(TransportOptions("http://127.0.0.1:8000"), "my-model")  # doctest: +SKIP
        >>> host.create(config, embedding, windows)  # doctest: +SKIP
        >>> solved = host.run(0, block, {name: {"sparsity": 0.5}})  # doctest: +SKIP

    Raises:
        PareError: if the host refuses a request, with `states_not_found` if it has lost the states.
        ConnectionError: if the host cannot be reached.
        ValueError: if an answer is malformed.
    """

    def __init__(self, options: TransportOptions, name: str) -> None:
        require_text("name", name)
        self.name = name
        self._transport = Transport(options)

    def next_block(self) -> int | None:
        """Return the block whose inputs the host has, or None if the states are not stored."""
        path = f"/v1/states/{self.name}"
        try:
            body = self._transport.send("GET", path)
        except PareError as error:
            if error.code == "states_not_found":
                return None
            raise
        block = parse_answer(body, path, "a description of states", ["next_block"])["next_block"]
        if type(block) is not int:
            raise ValueError(f"answer of {path}: next_block is not a number")
        return block

    def create(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        windows: Sequence[Sequence[int]],
        validation_windows: Sequence[Sequence[int]] = (),
        *,
        names: Sequence[str] = (),
        target: str = "none",
    ) -> None:
        """Create the states before the first block.

        Args:
            config: the object in config.json.
            tensors: the tensors of the model before its first block, by their names in the checkpoint.
                The table of tokens may have only some rows.
            windows: the token ids of the fitted windows, all of the same length. If the table of tokens
                has only some rows, the ids are the indices of its rows.
            validation_windows: the token ids of the windows that are held out.
            names: the names of the tensors of the first block, which tell variants of a family apart.
            target: `dense` stores the states of the dense model too, so that layers have targets.

        Raises:
            PareError: with `invalid_parameter` for Gemma 4 E2B and E4B, whose blocks hosts do not run.
        """
        require("config", config, Mapping, "the object in config.json")
        require("tensors", tensors, Mapping, "a dictionary of tensors")
        require_texts("names", names)
        body: dict[str, Tensor | WireTensor] = {**tensors, "windows": _token_ids("windows", windows)}
        if not isinstance(validation_windows, Sequence) or validation_windows:
            body["validation_windows"] = _token_ids("validation_windows", validation_windows)
        metadata = {"config": to_json("config", config), "names": to_json("names", list(names))}
        self._transport.send(
            "PUT", f"/v1/states/{self.name}", query={"target": target}, body=encode_parts(body, metadata)
        )

    def run(
        self,
        block: int,
        tensors: Mapping[str, Array],
        layers: Mapping[str, LayerQuery] | None = None,
        *,
        kind: Literal["prune", "collect", "train", "measure", "run"] = "prune",
        **parameters: bool | int | str,
    ) -> SolvedBlock[Array]:
        """Do a step on a block.

        Args:
            block: the index of the block, from 0.
            tensors: the tensors of the block, by their names in the checkpoint. A tensor with the prefix
                `pruned.` replaces the tensor of the block.
            layers: the parameters of the layers to prune or to collect, by the names of their weights.
            kind: `prune` prunes the layers, and runs the states through the pruned block. `collect` only
                stores the statistics of the layers, for `add_sums`. `train` and `measure` train a pruned
                block and measure its error. `run` only runs the states through the block.
            parameters: the other parameters of `POST /v1/blocks/KIND`, such as `advance`, `true_sequential`,
                `reconstruct` and `format` of `prune`, `targets` of `collect`, `epochs` of `train`, and
                `against` of `measure`.

        Returns:
            the block, in the library and on the device of the first tensor.

        Raises:
            ValueError: if the answer is malformed or is not the requested block: if a layer or a trained
            tensor is
                missing, or fails a check of `Pare.prune_layer`. The error of a layer is estimated with random
                combinations of its inputs that the host sends, so a host can forge them together with the
                layer.
        """
        require("tensors", tensors, Mapping, "a dictionary of tensors")
        if not tensors:
            raise ValueError("tensors: must be the tensors of the block, got an empty dictionary")
        require("layers", layers, (Mapping, NoneType), "the parameters of layers, or None")
        given = {name: str(value).lower() for name, value in parameters.items()}
        query = {"states": self.name, "block": str(block), **given}
        metadata = {} if layers is None else {"layers": to_json("layers", layers)}
        body = encode_parts(tensors, metadata)
        # Two bytes of a weight are at most 16 in the answer: four, a mask, a code, a grid of eight, and two
        # more.
        probes = sum(4 * PROBE_ROWS * max(tensors[name].shape) for name in layers or () if name in tensors)
        limit = 8 * sum(len(part) for part in body) + probes + _REPORT_BYTES
        answer = self._transport.send(
            "POST", f"/v1/blocks/{kind}", query=query, body=body, max_answer_bytes=limit
        )
        is_trained = kind == "train" or int(parameters.get("reconstruct", 0)) > 0
        request = BlockRequest(tensors, layers or {}, kind != "collect", is_trained)
        return decode_block(answer, library_of(next(iter(tensors.values()))), request)

    def add_sums(
        self, layer: str, hessian_upper: Array, validation_hessian_upper: Array | None = None
    ) -> tuple[Array, Array | None]:
        """Add the stored statistics of a layer to those of the windows before, and return the sums.

        Args:
            layer: the name of the weight.
            hessian_upper: (n·(n+1)/2) float32, the sums of the windows before, which may be zeros.
            validation_hessian_upper: those of the windows that are held out, if there are any.
        """
        require_tensor("hessian_upper", hessian_upper)
        given = {"hessian_upper": hessian_upper, "validation_hessian_upper": validation_hessian_upper}
        path = f"/v1/states/{self.name}/sums"
        body = encode_parts(given)
        limit = 2 * sum(len(part) for part in body) + _REPORT_BYTES
        answer = self._transport.send("POST", path, query={"layer": layer}, body=body, max_answer_bytes=limit)
        tensors, _ = decode(answer)
        for name, tensor in tensors.items():
            if name not in given or (tensor.dtype, tensor.shape) != ("F32", tuple(hessian_upper.shape)):
                raise ValueError(f"answer of {path}: the tensor {name} is not a sum of this layer")
        if "hessian_upper" not in tensors:
            raise ValueError(f"answer of {path}: the tensor hessian_upper is missing")
        library = library_of(hessian_upper)
        validation = tensors.get("validation_hessian_upper")
        return library.make(tensors["hessian_upper"]), None if validation is None else library.make(
            validation
        )

    def delete(self) -> None:
        """Delete the states. States that do not exist cause no error."""
        try:
            self._transport.send("DELETE", f"/v1/states/{self.name}")
        except PareError as error:
            if error.code != "states_not_found":
                raise


def _token_ids(name: str, windows: Sequence[Sequence[int]]) -> WireTensor:
    """Return the token ids of windows as a tensor, U32 [windows, tokens]."""
    try:
        tokens = len(windows[0])
        lengths = {len(window) for window in windows}
        ids = array("I", (index(token) for window in windows for token in window))
    except (IndexError, KeyError, OverflowError, TypeError) as error:
        raise type(error)(f"{name}: must be at least one list of token ids: {error}") from error
    if len(lengths) > 1:
        raise ValueError(f"{name}: all must have the same length, which is {tokens} for the first one")
    return WireTensor("U32", (len(windows), tokens), memoryview(ids).cast("B"))
