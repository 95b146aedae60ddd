"""Uploads and durable jobs at an edge, which spreads the layers of a job over hosts."""

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
