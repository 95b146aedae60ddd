"""Prune PyTorch models with Pare, and keep their zeros while they are trained further.

Every public name of the package can be imported from here. A name is loaded from its module when it is used
for the first time, so `import pare_llm` is fast and needs neither torch nor transformers.
"""

import re
import sys
from importlib import import_module
from importlib.resources import files

__version__ = "0.1.0"

# The module of each public name, which is imported when the name is used for the first time. The stub
# `__init__.pyi` declares both.
_STUB = files(__name__).joinpath("__init__.pyi").read_text(encoding="utf-8")
_MODULES = {name: module for module, name in re.findall(r"^from (\S+) import (\w+)", _STUB, re.MULTILINE)}

# The libraries that are not always installed. The extra that installs a library has its name.
_EXTRAS = ("torch", "transformers", "peft", "mlflow", "wandb")

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'pare_llm' has no attribute {name!r}")
    try:
        module = import_module(_MODULES[name])
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _EXTRAS:
            raise
        message = (
            f'pare_llm.{name} needs {library}, which is not installed: pip install "pare-llm[{library}]"'
        )
        # An import statement asks from `_handle_fromlist`, and would hide the message of an AttributeError.
        # Everybody else, such as `hasattr`, expects an AttributeError.
        if sys._getframe(1).f_code.co_name == "_handle_fromlist":
            raise ModuleNotFoundError(message, name=error.name) from error
        raise AttributeError(message, name=name) from error
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
