"""The messages between a client and an edge about jobs and hosts, as in `src/protocol/resources`."""

from __future__ import annotations

from typing import Literal, TypedDict

from pare_llm.client.answers import Report
from pare_llm.client.layer_query import LayerQuery

JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class _RequiredLayerMembers(TypedDict):
    name: str
    """Name of the layer, unique in the job."""
    weight: str
    """The digest (`sha256:HEX`) of a blob with the tensor `weight`. The blob also has the statistics unless
    `hessian` is given."""


class JobLayerRequest(_RequiredLayerMembers, total=False):
    """One layer of a job to submit."""

    hessian: str
    """The digest of a blob with the tensor `hessian` or `hessian_upper`, and the validation statistics if
    there are some. Layers that name the same blob share one factorisation."""
    parameters: LayerQuery


class JobError(TypedDict):
    """The reason why a layer has no result. `code` is an error code of the HTTP API, or `cancelled`."""

    code: str
    detail: str


class LayerState(TypedDict):
    """The state of one layer of a job."""

    name: str
    state: JobState
    attempts: int
    report: Report | None
    result: str | None
    """The digest of the answer."""
    error: JobError | None


class Job(TypedDict):
    """A job and the states of its layers."""

    id: str
    state: JobState
    layers: list[LayerState]


class JobSummary(TypedDict):
    """A job without its layers."""

    id: str
    name: str | None
    state: JobState
    created: str
    """The time of the submission, in ISO 8601."""
    ended: str | None
    """The time at which the job ended."""
    layers: dict[JobState, int]
    """The number of layers in each state."""


class JobList(TypedDict):
    """A page of jobs, newest first."""

    jobs: list[JobSummary]
    cursor: str | None
    """The cursor of the next page. None on the last page."""


class EdgeHost(TypedDict):
    """A host that is registered at an edge and sends heartbeats."""

    url: str
    backend: str
    adapter: str


def has_ended(state: JobState) -> bool:
    """Whether `state` is final."""
    return state in ("done", "failed", "cancelled")
