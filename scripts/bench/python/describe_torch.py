"""Prints which PyTorch this Python has, and which library multiplies its matrices, as one JSON object.

    python describe_torch.py

The object has the members "torch", "folder" (of the package torch), "blas" (name and version of the library), "kernel" (the
processor for which the library chose its kernels, or null) and "config" (the text of `torch.__config__.show()`). The program fails if
torch or safetensors is not installed. With the variable MKL_VERBOSE=1, MKL also prints a line that describes itself.
"""

import ctypes
import json
import pathlib
import re

import safetensors  # noqa: F401  the programs of the benches need it
import torch


def loaded_openblas() -> ctypes.CDLL | None:
    """Returns the OpenBLAS library that this process has loaded for torch. Linux only."""
    maps = pathlib.Path("/proc/self/maps")
    paths = re.findall(r"/\S*openblas\S*\.so\S*", maps.read_text()) if maps.exists() else []
    # The wheels of NumPy and SciPy bring an OpenBLAS of their own, which torch does not use.
    for path in sorted({path for path in paths if "scipy_openblas" not in path}):
        library = ctypes.CDLL(path)
        if hasattr(library, "openblas_get_corename"):
            return library
    return None


def text_of(library: ctypes.CDLL, function: str) -> str:
    """Calls a function of C without arguments that returns a string."""
    call = getattr(library, function)
    call.restype = ctypes.c_char_p
    return call().decode()


def blas_and_kernel(config: str) -> tuple[str, str | None]:
    """Returns the name of the library, and the processor of its kernels."""
    mkl = re.search(r"Math Kernel Library Version (\S+?)-", config)
    if mkl:
        return f"MKL {mkl[1]}", None
    library = loaded_openblas()
    if library:
        version = re.search(r"\d+(\.\d+)+", text_of(library, "openblas_get_config"))
        return f"OpenBLAS {version[0] if version else ''}".strip(), text_of(library, "openblas_get_corename")
    info = re.search(r"BLAS_INFO=(\w+)", config)
    return f"BLAS {info[1] if info else 'of unknown name'}", None


def main() -> None:
    # The product loads the library, and lets MKL print its description.
    torch.ones(64, 64).mm(torch.ones(64, 64))
    config = torch.__config__.show()
    blas, kernel = blas_and_kernel(config)
    folder = str(pathlib.Path(torch.__file__).parent.resolve())
    versions = {"torch": torch.__version__, "folder": folder}
    # The line break ends a line that MKL may have begun.
    print("\n" + json.dumps({**versions, "blas": blas, "kernel": kernel, "config": config}))


if __name__ == "__main__":
    main()
