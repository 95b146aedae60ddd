"""The public names of the package and their modules, for type checkers and for `__init__.py`."""

from pare_llm.checkpoints.export_onnx import export_onnx as export_onnx
from pare_llm.checkpoints.model import from_pretrained as from_pretrained
from pare_llm.checkpoints.tensors import load as load
from pare_llm.checkpoints.tensors import load_state_dict as load_state_dict
from pare_llm.client.answers import Report as Report
from pare_llm.client.async_pare import AsyncPare as AsyncPare
from pare_llm.client.block_answer import SolvedBlock as SolvedBlock
from pare_llm.client.block_answer import SolvedBlockLayer as SolvedBlockLayer
from pare_llm.client.blocks import BlockHost as BlockHost
from pare_llm.client.errors import BusyError as BusyError
from pare_llm.client.errors import HessianNotFoundError as HessianNotFoundError
from pare_llm.client.errors import NotPositiveDefiniteError as NotPositiveDefiniteError
from pare_llm.client.errors import PareError as PareError
from pare_llm.client.layer import PrunedLayer as PrunedLayer
from pare_llm.client.layer import QuantizedWeight as QuantizedWeight
from pare_llm.client.layer_query import LayerQuery as LayerQuery
from pare_llm.client.pare import HostDescription as HostDescription
from pare_llm.client.pare import Pare as Pare
from pare_llm.client.pare_hosts import PareHosts as PareHosts
from pare_llm.client.runs import Run as Run
from pare_llm.client.runs import RunFile as RunFile
from pare_llm.client.runs import Runs as Runs
from pare_llm.client.transport import TransportOptions as TransportOptions
from pare_llm.finetuning.keep_zeros import keep_zeros as keep_zeros
from pare_llm.finetuning.masked_lora import mask_lora_ as mask_lora_
from pare_llm.finetuning.masked_lora import merge_keep_zeros as merge_keep_zeros
from pare_llm.finetuning.trainer_callback import KeepZerosCallback as KeepZerosCallback
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

__version__: str
