"""Prune PyTorch models with Pare, and keep their zeros while they are trained further.

Every public name of the package can be imported from here. A name is loaded from its module when it is used
for the first time, so `import pare_llm` is fast and needs neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pare_llm.checkpoints.export_onnx import export_onnx as export_onnx
    from pare_llm.checkpoints.model import from_pretrained as from_pretrained
    from pare_llm.checkpoints.tensors import load as load
    from pare_llm.checkpoints.tensors import load_state_dict as load_state_dict
    from pare_llm.client.answers import Report as Report
    from pare_llm.client.async_pare import AsyncPare as AsyncPare
    from pare_llm.client.blocks import BlockHost as BlockHost
    from pare_llm.client.blocks import SolvedBlock as SolvedBlock
    from pare_llm.client.blocks import SolvedBlockLayer as SolvedBlockLayer
    from pare_llm.client.errors import BusyError as BusyError
    from pare_llm.client.errors import HessianNotFoundError as HessianNotFoundError
    from pare_llm.client.errors import NotPositiveDefiniteError as NotPositiveDefiniteError
    from pare_llm.client.errors import PareError as PareError
    from pare_llm.client.jobs.jobs import Jobs as Jobs
    from pare_llm.client.jobs.jobs import list_edge_hosts as list_edge_hosts
    from pare_llm.client.jobs.messages import EdgeHost as EdgeHost
    from pare_llm.client.jobs.messages import Job as Job
    from pare_llm.client.jobs.messages import JobLayerRequest as JobLayerRequest
    from pare_llm.client.jobs.messages import LayerState as LayerState
    from pare_llm.client.jobs.prune_by_job import JobFailedError as JobFailedError
    from pare_llm.client.jobs.prune_by_job import prune_by_job as prune_by_job
    from pare_llm.client.jobs.uploads import UploadProgress as UploadProgress
    from pare_llm.client.jobs.uploads import Uploads as Uploads
    from pare_llm.client.layer import LayerToUpload as LayerToUpload
    from pare_llm.client.layer import PrunedLayer as PrunedLayer
    from pare_llm.client.layer import QuantizedWeight as QuantizedWeight
    from pare_llm.client.layer_query import LayerQuery as LayerQuery
    from pare_llm.client.pare import HostDescription as HostDescription
    from pare_llm.client.pare import Pare as Pare
    from pare_llm.client.pare_hosts import PareHosts as PareHosts
    from pare_llm.client.transport import TransportOptions as TransportOptions
    from pare_llm.finetuning.gradual_schedule import GradualSchedule as GradualSchedule
    from pare_llm.finetuning.keep_zeros import keep_zeros as keep_zeros
    from pare_llm.finetuning.masked_lora import mask_lora_ as mask_lora_
    from pare_llm.finetuning.masked_lora import merge_keep_zeros as merge_keep_zeros
    from pare_llm.finetuning.trainer_callback import KeepZeros as KeepZeros
    from pare_llm.finetuning.verify import verify as verify
    from pare_llm.pruning.calibration.windows import calibration_windows as calibration_windows
    from pare_llm.pruning.calibration.windows import hold_out as hold_out
    from pare_llm.pruning.folder.prune_folder import prune_folder as prune_folder
    from pare_llm.pruning.folder.save_sharded import save_sharded as save_sharded
    from pare_llm.pruning.prune import prune_ as prune_
    from pare_llm.pruning.prune_report import LayerResult as LayerResult
    from pare_llm.pruning.prune_report import PruneReport as PruneReport
    from pare_llm.pruning.run_options import RunParameters as RunParameters
    from pare_llm.pruning.trackers.mlflow_tracker import MlflowTracker as MlflowTracker
    from pare_llm.pruning.trackers.tracker import Tracker as Tracker
    from pare_llm.pruning.trackers.wandb_tracker import WandbTracker as WandbTracker
    from pare_llm.statistics.hessian import Hessian as Hessian
    from pare_llm.statistics.recorder import HessianRecorder as HessianRecorder

__version__ = "0.1.0"

# The module of each public name. `__getattr__` imports the module when the name is used.
_MODULES: dict[str, str] = {
    "AsyncPare": "pare_llm.client.async_pare",
    "BlockHost": "pare_llm.client.blocks",
    "BusyError": "pare_llm.client.errors",
    "EdgeHost": "pare_llm.client.jobs.messages",
    "GradualSchedule": "pare_llm.finetuning.gradual_schedule",
    "Hessian": "pare_llm.statistics.hessian",
    "HessianNotFoundError": "pare_llm.client.errors",
    "HessianRecorder": "pare_llm.statistics.recorder",
    "HostDescription": "pare_llm.client.pare",
    "Job": "pare_llm.client.jobs.messages",
    "JobFailedError": "pare_llm.client.jobs.prune_by_job",
    "JobLayerRequest": "pare_llm.client.jobs.messages",
    "Jobs": "pare_llm.client.jobs.jobs",
    "KeepZeros": "pare_llm.finetuning.trainer_callback",
    "LayerQuery": "pare_llm.client.layer_query",
    "LayerResult": "pare_llm.pruning.prune_report",
    "LayerState": "pare_llm.client.jobs.messages",
    "LayerToUpload": "pare_llm.client.jobs.upload_layers",
    "MlflowTracker": "pare_llm.pruning.trackers.mlflow_tracker",
    "NotPositiveDefiniteError": "pare_llm.client.errors",
    "Pare": "pare_llm.client.pare",
    "PareError": "pare_llm.client.errors",
    "PareHosts": "pare_llm.client.pare_hosts",
    "PruneReport": "pare_llm.pruning.prune_report",
    "PrunedLayer": "pare_llm.client.layer_file",
    "QuantizedWeight": "pare_llm.client.layer_file",
    "Report": "pare_llm.client.answers",
    "RunParameters": "pare_llm.pruning.run_options",
    "SolvedBlock": "pare_llm.client.blocks",
    "SolvedBlockLayer": "pare_llm.client.blocks",
    "Tracker": "pare_llm.pruning.trackers.tracker",
    "TransportOptions": "pare_llm.client.transport",
    "UploadProgress": "pare_llm.client.jobs.uploads",
    "Uploads": "pare_llm.client.jobs.uploads",
    "WandbTracker": "pare_llm.pruning.trackers.wandb_tracker",
    "calibration_windows": "pare_llm.pruning.calibration.windows",
    "export_onnx": "pare_llm.checkpoints.export_onnx",
    "from_pretrained": "pare_llm.checkpoints.model",
    "hold_out": "pare_llm.pruning.calibration.windows",
    "keep_zeros": "pare_llm.finetuning.keep_zeros",
    "list_edge_hosts": "pare_llm.client.jobs.jobs",
    "load": "pare_llm.checkpoints.tensors",
    "load_state_dict": "pare_llm.checkpoints.tensors",
    "mask_lora_": "pare_llm.finetuning.masked_lora",
    "merge_keep_zeros": "pare_llm.finetuning.masked_lora",
    "prune_": "pare_llm.pruning.prune",
    "prune_by_job": "pare_llm.client.jobs.prune_by_job",
    "prune_folder": "pare_llm.pruning.folder.prune_folder",
    "save_sharded": "pare_llm.pruning.folder.save_sharded",
    "verify": "pare_llm.finetuning.verify",
}

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
        raise ModuleNotFoundError(message, name=error.name) from error
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
