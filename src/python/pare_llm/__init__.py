"""Prune PyTorch models with Pare, and keep their zeros while they are trained further.

Every public name of the package can be imported from here. A name is loaded from its module when it is used for the
first time, so `import pare_llm` is fast and needs neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checkpoints.model import from_pretrained as from_pretrained
    from .checkpoints.tensors import load as load
    from .checkpoints.tensors import load_state_dict as load_state_dict

__version__ = "0.1.0"

# The module of each public name. `__getattr__` imports the module when the name is used.
_MODULES: dict[str, str] = {
    "from_pretrained": "pare_llm.checkpoints.model",
    "load": "pare_llm.checkpoints.tensors",
    "load_state_dict": "pare_llm.checkpoints.tensors",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'pare_llm' has no attribute {name!r}")
    value: object = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
