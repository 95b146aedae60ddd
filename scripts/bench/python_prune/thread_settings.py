"""The settings of threads in which PyTorch is tried, and the environment of a program in such a setting.

The settings and their names are those of `scripts/bench/torch/thread_settings.ts`.
"""

import os
import re

# Variables of OpenMP runtimes and of libraries of linear algebra. Some of them slow a library down.
LIBRARY_VARIABLE = re.compile("(OMP|GOMP|KMP|OPENBLAS|GOTO|MKL|BLIS|NVPL)_")


def thread_settings(cores: int) -> dict[str, dict[str, str]]:
    """Return the environment variables of each setting by its name."""
    one = both(1, 1)
    if cores == 1:
        return {"OMP 1, BLAS 1": one}
    return {
        f"OMP {cores}": {"OMP_NUM_THREADS": str(cores)},
        f"OMP 1, BLAS {cores}": both(1, cores),
        f"OMP {cores}, BLAS {cores}": both(cores, cores),
        f"OMP {cores}, BLAS {cores}, passive": both(cores, cores) | {"OMP_WAIT_POLICY": "PASSIVE"},
        f"OMP {cores}, BLAS 1": both(cores, 1),
        "OMP 1, BLAS 1": one,
    }


def both(open_mp: int, blas: int) -> dict[str, str]:
    """Return the variables that set both pools of threads."""
    return {
        "OMP_NUM_THREADS": str(open_mp),
        "OPENBLAS_NUM_THREADS": str(blas),
        "MKL_NUM_THREADS": str(blas),
    }


def environment(added: dict[str, str]) -> dict[str, str]:
    """Return this process's environment without variables of libraries of linear algebra, and `added`."""
    inherited = {name: value for name, value in os.environ.items() if not LIBRARY_VARIABLE.match(name)}
    return inherited | added
