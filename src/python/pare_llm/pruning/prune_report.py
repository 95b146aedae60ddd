"""The report of a run, in memory and as the file `pare.json`, which the command line `pare` also writes."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pare_llm import __version__
from pare_llm.checkpoints.remote import as_path
from pare_llm.pruning.files import write_atomically
from pare_llm.pruning.report_views import report_lines, report_table

if TYPE_CHECKING:
    from pare_llm.client.answers import Report

REPORT_FILE = "pare.json"
"""The name of the report in the folder of a model."""


@dataclass(frozen=True)
class LayerResult:
    """One pruned layer."""

    name: str
    """The name of the module in the model."""
    weight_name: str
    """The name of the weight in the state dict of the model."""
    block: int
    """The index of the block that contains the layer, from 0."""
    report: Report
    """The report of the host."""
    seconds: float
    """The seconds from the request to the answer."""
    calibration_seconds: float
    """The seconds of the forward passes between the previous layer and this one."""
    tokens: int | None = None
    """The number of calibration tokens that reached the layer of an expert. None for other layers."""


@dataclass(frozen=True)
class Reconstruction:
    """The result of the reconstruction of one block.

    The errors are means of ‖out − y‖²/‖y‖² over the held-out tokens, or over all tokens if none is held out.
    """

    epochs: int
    before: float
    after: float
    """The error of the parameters that were kept."""
    kept_epoch: int
    """The epoch whose parameters were kept. 0 means before the reconstruction."""
    seconds: float = 0


@dataclass(frozen=True)
class RunFacts:
    """The facts about a run that do not depend on its layers."""

    model_name: str
    model_type: str
    blocks: int
    hidden_size: int
    parameters: dict[str, Any]
    """The parameters of the HTTP contract and the choice of layers."""
    samples: int
    """The number of calibration sequences of all ranks, held-out sequences included."""
    seqlen: int
    """The number of tokens of the longest sequence, padding included."""
    skipped: list[str]
    """The names of the matrices in the blocks that were not pruned: the weights of layers that were not
    chosen, and matrices that belong to no linear layer. Routers of experts are left out."""
    model_bytes: int
    """The size of all parameters and buffers of the model."""
    validation_samples: int = 0
    """The number of held-out sequences."""
    resumed: int = 0
    allocation: dict[str, Any] | None = None
    """The sparsities that `allocate=` chose, as `pare.json` has them."""
    finished: str = field(
        default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    )


@dataclass(frozen=True, repr=False)
class PruneReport:
    """The result of `prune_`. It is printed as a summary. In a notebook, it shows itself as a table."""

    layers: Sequence[LayerResult]
    """The pruned layers, in the order of the model. Their reports were made before any reconstruction."""
    facts: RunFacts
    reconstructions: Mapping[int, Reconstruction] = field(default_factory=dict)
    """The results of the reconstructions, by the index of the block."""

    @property
    def entries(self) -> int:
        """The number of weights of the pruned layers."""
        return sum(layer.report["rows"] * layer.report["cols"] for layer in self.layers)

    @property
    def zeros(self) -> int:
        """The number of weights that are zero."""
        return sum(layer.report["zeros"] for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """The fraction of the weights of the pruned layers that are zero."""
        return self.zeros / self.entries

    @property
    def seconds(self) -> float:
        """The seconds of forward passes, requests and reconstruction. Some of them may overlap."""
        return sum(self._phases.values())

    @property
    def starved(self) -> list[LayerResult]:
        """The layers of experts that fewer calibration tokens reached than the layer has columns."""
        return [
            layer
            for layer in self.layers
            if layer.tokens is not None
            and layer.tokens < layer.report["cols"]
            and layer.report["method"] != "magnitude"
        ]

    @property
    def _phases(self) -> dict[str, float]:
        """The seconds of each phase."""
        of_blocks = sum(each.seconds for each in self.reconstructions.values())
        return {
            "calibration": sum(layer.calibration_seconds for layer in self.layers),
            "layers": sum(layer.seconds for layer in self.layers),
            **({"reconstruction": of_blocks} if self.reconstructions else {}),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `pare.json`. `src/prune/report/run_report.ts` describes it."""
        facts, first = self.facts, self.layers[0].report
        return {
            "version": __version__,
            "finished": facts.finished.replace("+00:00", "Z"),
            "model": {
                "name": facts.model_name,
                "model_type": facts.model_type,
                "blocks": facts.blocks,
                "hidden_size": facts.hidden_size,
            },
            "parameters": facts.parameters,
            "calibration": {
                "text": "the batches given to pare_llm",
                "samples": facts.samples,
                "validation_samples": facts.validation_samples,
                "seqlen": facts.seqlen,
                "seed": None,
            },
            "backend": first["backend"],
            "adapter": first["adapter"],
            "resumed": facts.resumed,
            "seconds": {**self._phases, "total": self.seconds},
            "layers": [
                {
                    **layer.report,
                    "name": layer.weight_name,
                    "block": layer.block,
                    "calibration_seconds": layer.calibration_seconds,
                    **({} if layer.tokens is None else {"tokens": layer.tokens}),
                }
                for layer in self.layers
            ],
            **({"blocks": self._blocks()} if self.reconstructions else {}),
            "skipped": facts.skipped,
            "format": "dense",
            "bytes": {"dense": facts.model_bytes, "written": facts.model_bytes},
            "perplexity": [],
            **({} if facts.allocation is None else {"allocation": facts.allocation}),
        }

    def _blocks(self) -> list[dict[str, Any]]:
        """Return the reconstructed blocks, as `pare.json` has them."""
        blocks: list[dict[str, Any]] = []
        for index, of_block in self.reconstructions.items():
            values = {name: value for name, value in asdict(of_block).items() if name != "seconds"}
            for name in ("before", "after"):  # JSON has no infinity
                values[name] = values[name] if math.isfinite(values[name]) else None
            blocks.append({"block": index, "reconstruction": values})
        return blocks

    def save(self, folder: str | Path) -> Path:
        """Write `pare.json` into `folder`, which is created if needed, and return its path.

        `bytes` is the size of the safetensors files in the folder if there are any, so save the model first.
        """
        folder = as_path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = self.to_dict()
        if written := sum(file.stat().st_size for file in folder.glob("*.safetensors")):
            content["bytes"] = {"dense": written, "written": written}
        path = folder / REPORT_FILE
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
        return path

    def to_html(self, path: str | Path, *, command: Sequence[str] | None = None) -> Path:
        """Write the page `report.html` of the command line to `path`, and return the path.

        The command line `pare` draws the page. `command` starts it, for example `["deno", "task", "pare"]` in
        a clone of the repository; the default is the program `pare` on the path.

        Raises:
            FileNotFoundError: if there is no such program.
            RuntimeError: if the program fails.
        """
        program, path = [*command] if command else ["pare"], Path(path)
        if shutil.which(program[0]) is None:
            raise FileNotFoundError(
                f"to_html: the command line of Pare draws the page, and the program {program[0]!r} is not on "
                'the path; give command=, for example ["deno", "task", "pare"] in a clone of the repository'
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self.save(folder)
            arguments = [*program, "report", folder, "--out", str(path.absolute())]
            finished = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            raise RuntimeError(f"to_html: {' '.join(program)} report failed: {finished.stderr.strip()}")
        return path

    def __repr__(self) -> str:
        """Return a summary of about ten lines."""
        return "\n".join(report_lines(self))

    def _repr_html_(self) -> str:
        return report_table(self)


@dataclass(frozen=True)
class Allocation:
    """The sparsity of each layer, and how it was chosen."""

    name: str
    sparsities: dict[str, float]
    """The sparsity of each layer, by the name of its weight."""
    notes: list[str]
    """The measurements behind the choice, as sentences."""
