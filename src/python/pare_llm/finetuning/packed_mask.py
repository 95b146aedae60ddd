"""The mask of one weight, with one bit per entry."""

from collections.abc import Iterator

import torch
from torch import Tensor

# The number of entries that are unpacked at a time. Unpacked entries take one byte each, so 8 MiB at most.
_CHUNK = 1 << 23


class PackedMask:
    """A mask of the entries of a tensor that were zero when the mask was made.

    Bit `i % 8` of byte `i // 8` (least significant bit first) belongs to entry i of the flattened tensor. The
    bit is 1 if the entry was not zero. The entry -0.0 counts as zero, and NaN does not.
    """

    def __init__(self, tensor: Tensor) -> None:
        """Make the mask of `tensor`, which may have any shape, dtype and device."""
        flat = tensor.detach().reshape(-1)
        self.entries = len(flat)
        self.zeros = self.entries - int(torch.count_nonzero(flat))
        _masked_entries(tensor.device)  # made now, so that torch.compile need not trace it later
        self.bits = torch.empty((self.entries + 7) // 8, dtype=torch.uint8, device=tensor.device)
        for start in range(0, self.entries, _CHUNK):
            packed = _pack(flat[start : start + _CHUNK] != 0)
            self.bits[start // 8 :][: len(packed)] = packed

    def zero_(self, tensor: Tensor, first: int = 0) -> None:
        """Set the masked entries of `tensor`, which begins at entry `first` of the mask, to +0.0.

        A tensor that is not contiguous must be as large as the mask.
        """
        if self.zeros == 0:
            return
        if tensor.is_contiguous():
            for piece, masked in self._pieces(tensor.view(-1), first):
                piece.masked_fill_(masked, 0)
        else:
            tensor.masked_fill_(self._masked(0, self.entries, tensor.device).view(tensor.shape), 0)

    def count_nonzeros(self, tensor: Tensor) -> int:
        """Count the masked entries of `tensor` that are not zero. `tensor` is as large as the mask."""
        flat = tensor.detach().reshape(-1)
        return sum(int(torch.count_nonzero(piece[masked])) for piece, masked in self._pieces(flat, 0))

    def kept(self) -> Tensor:
        """Return a boolean tensor of shape [entries]. True means that the entry was not zero."""
        return ~self._masked(0, self.entries, self.bits.device)

    def _pieces(self, flat: Tensor, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pieces of `flat`, each with its masked entries as booleans."""
        for start in range(0, len(flat), _CHUNK):
            piece = flat[start : start + _CHUNK]
            yield piece, self._masked(first + start, len(piece), flat.device)

    def _masked(self, first: int, count: int, device: torch.device) -> Tensor:
        """Unpack the entries from `first` to `first + count` as booleans. True means masked."""
        if self.bits.device != device:  # the model was moved since the last call
            self.bits = self.bits.to(device)
        start, end = first // 8, (first + count + 7) // 8
        words = torch.index_select(_masked_entries(device), 0, self.bits[start:end].int())
        return words.view(torch.bool)[first - 8 * start :][:count]


def _pack(kept: Tensor) -> Tensor:
    """Pack booleans of shape [n] into bytes of shape [⌈n/8⌉]. The last bits of the last byte are 0."""
    padded = torch.nn.functional.pad(kept.to(torch.uint8), (0, -len(kept) % 8)).view(-1, 8)
    places = torch.arange(8, dtype=torch.uint8, device=kept.device)
    return (padded << places).sum(1, dtype=torch.uint8)


# For each device, a table with one 64-bit word per byte value, which holds the eight booleans of the byte.
_TABLES: dict[torch.device, Tensor] = {}


def _masked_entries(device: torch.device) -> Tensor:
    """Return the table of a device, with the shape [256]. A boolean is True if its bit is 0."""
    if device not in _TABLES:
        rows = [[not byte >> place & 1 for place in range(8)] for byte in range(256)]
        _TABLES[device] = torch.tensor(rows, dtype=torch.bool, device=device).view(torch.int64).view(-1)
    return _TABLES[device]
