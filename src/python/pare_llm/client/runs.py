"""The runs of a host, which prune or round whole models. A run continues if this client ends."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, TypedDict, cast
from urllib.parse import quote

from pare_llm.arguments import require, require_number, require_text, to_json
from pare_llm.client.answers import parse_answer
from pare_llm.client.jobs.messages import JobState, has_ended
from pare_llm.client.server_client import ServerClient

# The bytes of a file that one request downloads. A failed request is repeated alone.
_PIECE_BYTES = 2**24


class RunFile(TypedDict):
    """A file of the result of a run."""

    name: str
    bytes: int


class Run(TypedDict):
    """A run of `pare prune` at a host. `plan`, `progress` and `result` are as the HTTP contract says."""

    id: str
    model: str
    options: list[str]
    state: JobState
    created: str
    plan: dict[str, Any] | None
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    error: str | None


class Runs(ServerClient):
    """The runs at one host, which `Pare.runs` has. `TransportOptions` describes the arguments."""

    def create(
        self,
        model: str,
        *,
        calibration: str | None = None,
        idempotency_key: str | None = None,
        **options: object,
    ) -> Run:
        """Start a run, and return it without waiting for its end.

        Args:
            model: `OWNER/NAME` on the Hugging Face hub, or the name of a model of the host.
            calibration: the calibration text itself. The default is the text that comes with Pare.
            idempotency_key: the same request with the same key is the same run. The default is a random key.
            **options: the options of `pare prune`, such as `sparsity=0.5`. `for_` stands for `for`.

        Raises:
            PareError: if the host accepts no runs, has no such model, or has no room for it.
        """
        require_text("model", model)
        require("calibration", calibration, (str, NoneType), "a string or None")
        require("idempotency_key", idempotency_key, (str, NoneType), "a string or None")
        given: dict[str, object] = {"model": model, "calibration": calibration}
        given |= {name.rstrip("_"): value for name, value in options.items()}
        body = to_json("options", {name: value for name, value in given.items() if value is not None})
        key = idempotency_key or str(uuid.uuid4())
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return _parse_run(self._transport.send("POST", "/v1/runs", headers=headers, body=[body.encode()]))

    def follow(self, run_id: str, *, poll_ms: float = 2000) -> Iterator[Run]:
        """Yield the run now and after each pause of `poll_ms`, until it has ended or failed."""
        require_text("run_id", run_id)
        require_number("poll_ms", poll_ms)
        while True:
            run = _parse_run(self._transport.send("GET", f"/v1/runs/{run_id}"))
            yield run
            if has_ended(run["state"]):
                return
            self._transport.pause(poll_ms / 1000)

    def download(self, run_id: str, file: RunFile, path: str | os.PathLike[str]) -> None:
        """Download one of the `files` of the result to `path`, in pieces. A piece that fails is repeated.

        Raises:
            ValueError: if the host sends another number of bytes. There is then no file at `path`.
        """
        require_text("run_id", run_id)
        url, partial = f"/v1/runs/{run_id}/files/{quote(file['name'])}", Path(f"{os.fspath(path)}.partial")
        try:
            with partial.open("wb") as target:
                for start in range(0, file["bytes"], _PIECE_BYTES):
                    end = min(start + _PIECE_BYTES, file["bytes"])
                    headers = {"Range": f"bytes={start}-{end - 1}"}
                    piece = self._transport.send("GET", url, headers=headers, max_answer_bytes=end - start)
                    if len(piece) != end - start:
                        raise ValueError(f"{url}: has {len(piece)} bytes from {start}, not {end - start}")
                    target.write(piece)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _parse_run(body: bytearray) -> Run:
    return cast(Run, parse_answer(body, "/v1/runs", "a run", Run.__annotations__))
