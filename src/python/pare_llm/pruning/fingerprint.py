"""The fingerprint of a run: everything that the bytes of its result depend on, by name."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pare_llm.pruning.files import tensor_bytes

Fingerprint = Mapping[str, str]


def model_digest(model: nn.Module) -> str:
    """Digest the names, shapes, dtypes and values of all buffers and parameters, or of this rank's shards."""
    digest = hashlib.sha256()
    for name, values in model.state_dict(keep_vars=True).items():
        if isinstance(values, Tensor):
            digest.update(f"{name}:{values.dtype}{tuple(values.shape)};".encode())
            digest.update(tensor_bytes(_local(values)))
    return f"sha256:{digest.hexdigest()}"


def checksum(values: Tensor) -> int:
    """Return the CRC-32 of a tensor, or of this rank's shard."""
    return zlib.crc32(tensor_bytes(_local(values)))


def _local(values: Tensor) -> Tensor:
    return values.to_local() if isinstance(values, DTensor) else values


def differences(previous: Fingerprint, current: Fingerprint) -> list[str]:
    """Describe each value that differs between two fingerprints."""
    names = dict.fromkeys([*previous, *current])
    return [
        f"{name} was {previous.get(name, 'absent')} and is {current.get(name, 'absent')}"
        for name in names
        if previous.get(name) != current.get(name)
    ]


def digest_of(texts: Iterable[str]) -> str:
    """Digest several texts."""
    return f"sha256:{hashlib.sha256(chr(10).join(texts).encode()).hexdigest()}"
