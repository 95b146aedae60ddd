"""Reads from config.json how the weights of a checkpoint are stored."""

from dataclasses import dataclass
from typing import Any

from pare_llm.checkpoints.header import quote

PACK_QUANTIZED = "pack-quantized"

# The members of config.json that describe a layout. The second one is the older name.
LAYOUT_KEYS = ("quantization_config", "compression_config")

_PACKED_BITS = range(2, 9)
_STRATEGIES = ("channel", "group")


@dataclass(frozen=True)
class CodeKind:
    """How codes are stored: with 2 to 8 bits, and with zero points unless the grids are symmetric."""

    bits: int
    symmetric: bool


def dense_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of `config` without the description of the layout."""
    return {key: value for key, value in config.items() if key not in LAYOUT_KEYS}


def read_layout(config: dict[str, Any]) -> tuple[CodeKind, ...] | None:
    """Return the kinds of codes, or None if dense. Other layouts than Pare's raise a ValueError."""
    key = next((key for key in LAYOUT_KEYS if config.get(key) is not None), None)
    if key is None:
        return None
    description = config[key]
    members = description if isinstance(description, dict) else {}
    sparsity = members.get("sparsity_config")
    sparse_format = sparsity.get("format") if isinstance(sparsity, dict) else None
    if members.get("quant_method") == "compressed-tensors" and members.get("format") == PACK_QUANTIZED:
        if sparse_format not in (None, "dense"):
            raise _mismatch(f"{key}.sparsity_config.format", "dense or absent", sparse_format)
        return _code_kinds(key, members)
    if sparse_format is not None:
        raise ValueError(
            f"config.json: the weights are stored in the sparse format {quote(sparse_format)}, which Pare "
            "does not read; decompress them with compressed-tensors 0.14 or older, or prune the original "
            "model again"
        )
    raise ValueError(
        f"config.json: {key} must name compressed-tensors with the format {PACK_QUANTIZED}, "
        f"not {quote(description)}"
    )


def _code_kinds(key: str, description: dict[str, Any]) -> tuple[CodeKind, ...]:
    if description.get("kv_cache_scheme"):
        raise _mismatch(f"{key}.kv_cache_scheme", "absent", description["kv_cache_scheme"])
    groups = description.get("config_groups")
    if not isinstance(groups, dict) or not groups:
        raise _mismatch(f"{key}.config_groups", "an object with at least one group", groups)
    return tuple(_code_kind(f"{key}.config_groups.{name}", group) for name, group in groups.items())


def _code_kind(path: str, group: Any) -> CodeKind:
    group = group if isinstance(group, dict) else {}
    weights = group.get("weights")
    if not isinstance(weights, dict):
        raise _mismatch(f"{path}.weights", "an object", weights)
    for member in ("input_activations", "output_activations"):
        if group.get(member):
            raise _mismatch(f"{path}.{member}", "absent", group[member])
    if weights.get("num_bits") not in _PACKED_BITS:
        raise _mismatch(f"{path}.weights.num_bits", "an integer from 2 to 8", weights.get("num_bits"))
    if weights.get("type") != "int":
        raise _mismatch(f"{path}.weights.type", "int", weights.get("type"))
    if weights.get("strategy") not in _STRATEGIES:
        raise _mismatch(f"{path}.weights.strategy", " or ".join(_STRATEGIES), weights.get("strategy"))
    return CodeKind(int(weights["num_bits"]), weights.get("symmetric") is not False)


def _mismatch(member: str, needed: str, value: object) -> ValueError:
    return ValueError(f"config.json: {member} must be {needed}, not {quote(value)}")
