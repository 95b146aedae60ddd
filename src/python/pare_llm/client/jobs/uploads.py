"""Uploads bodies in parts to signed URLs of an edge's bucket, so that the bytes bypass the edge."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import NoneType
from typing import Any, TypedDict
from urllib.parse import urlsplit

from pare_llm.arguments import require, require_function, require_integer, require_text
from pare_llm.client.answers import parse_answer
from pare_llm.client.errors import PareError
from pare_llm.client.http.connection_pool import Body, Request
from pare_llm.client.http.retry import Deadline, with_retries
from pare_llm.client.jobs.blobs import BlobInput, BlobSource, digest_of_blob, to_blob_source
from pare_llm.client.server_client import ServerClient


class UploadedPart(TypedDict):
    """A part that the bucket has received."""

    number: int
    etag: str


class UploadProgress(TypedDict):
    """The state of an unfinished upload. With it, another process can resume the upload within a day."""

    upload: str
    """Id of the upload at the edge."""
    parts: list[UploadedPart]
    """The parts that the bucket has received."""


class Uploads(ServerClient):
    """Uploads to one edge. `TransportOptions` describes the arguments."""

    def upload_blob(
        self,
        source: BlobInput,
        *,
        digest: str | None = None,
        concurrency: int = 3,
        resume: UploadProgress | None = None,
        on_part: Callable[[UploadProgress], None] | None = None,
    ) -> str:
        """Upload `source` unless the edge already stores it.

        Args:
            source: the bytes: one buffer, several buffers that follow each other, or the path of a file.
            digest: the digest of the bytes, if it is known. Otherwise the bytes are read once more to compute
                it.
            concurrency: number of parts that are sent at the same time.
            resume: an earlier upload of the same bytes to resume. If the edge no longer has it, the upload
                starts from the beginning.
            on_part: called after each part has arrived, by one thread at a time.

        Returns:
            the digest of the bytes, `sha256:HEX`. A job names the stored bytes, which are called a blob, by
            this digest.

        Raises:
            PareError: if the edge or the bucket refuses a request. The code is `digest_mismatch` if the bytes
                do not have the given digest.
            ConnectionError: if a part still fails after the last attempt. A later call with `resume` sends
                only the parts that have not arrived.
            TimeoutError: if the timeout of the client passes.
        """
        require("digest", digest, (str, NoneType), "a string or None")
        require_integer("concurrency", concurrency, 1)
        require("resume", resume, (Mapping, NoneType), "an UploadProgress or None")
        require_function("on_part", on_part)
        uploads = type(self)._over(self._transport.with_deadline())
        blob = to_blob_source(source)
        digest = digest or digest_of_blob(blob)
        if uploads.has_blob(digest):
            return digest
        upload = uploads._find_upload(resume["upload"]) if resume else None
        received = resume["parts"] if resume and upload else []
        if upload is None:
            upload = uploads._send_json(
                "POST", "/v1/uploads", {"size": blob.size, "sha256": digest}, member=None
            )
            if "blob" in upload:  # another client has stored the same bytes in the meantime
                return str(upload["blob"])
        parts = _PartSender(uploads, blob, upload, received, on_part).send_all(concurrency)
        path = f"/v1/uploads/{upload['upload']}/complete"
        completed = uploads._send_json(
            "POST", path, {"parts": parts}, expected="a completed upload", member="blob"
        )
        return str(completed["blob"])

    def has_blob(self, digest: str) -> bool:
        """Whether the edge stores the blob with this digest and will store it for at least one more day."""
        require_text("digest", digest)
        try:
            self._transport.send("HEAD", f"/v1/blobs/{digest}")
        except PareError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _find_upload(self, upload_id: str) -> dict[str, Any] | None:
        """Request an unfinished upload with new signed URLs. Return None if the edge does not have it."""
        try:
            return self._send_json("GET", f"/v1/uploads/{upload_id}")
        except PareError as error:
            if error.status != 404:
                raise
            return None

    def _send_json(
        self,
        method: str,
        path: str,
        message: object = None,
        expected: str = "an upload",
        member: str | None = "upload",
    ) -> dict[str, Any]:
        """Send `message` as JSON and return the answer, which must have `member` unless it is None."""
        body = None if message is None else [json.dumps(message).encode()]
        headers = None if message is None else {"Content-Type": "application/json"}
        return parse_answer(
            self._transport.send(method, path, body=body, headers=headers),
            path,
            expected,
            [member] if member else [],
        )


class _PartSender:
    """Sends the parts of one upload."""

    def __init__(
        self,
        uploads: Uploads,
        blob: BlobSource,
        upload: dict[str, Any],
        received: list[UploadedPart],
        on_part: Callable[[UploadProgress], None] | None,
    ) -> None:
        self._uploads = uploads
        self._blob = blob
        self._upload_id: str = upload["upload"]
        self._part_size: int = upload["part_size"]
        # The signed URL of each part. If a URL has expired, all URLs are renewed.
        self._urls: dict[int, str] = _urls_of(upload)
        self._parts = {part["number"]: part for part in received}
        self._on_part = on_part
        self._lock = Lock()
        self._has_failed = False

    def send_all(self, concurrency: int) -> list[UploadedPart]:
        """Send the missing parts and return all parts. If a part fails for good, no further part is begun."""
        missing = [number for number in self._urls if number not in self._parts]
        with ThreadPoolExecutor(concurrency, thread_name_prefix="pare-upload") as executor:
            try:
                for future in [executor.submit(self._send_part, number) for number in missing]:
                    future.result()
            except BaseException:
                # The executor waits for the parts that were begun, also after Ctrl-C.
                self._has_failed = True
                raise
        return list(self._parts.values())

    def _send_part(self, number: int) -> None:
        if self._has_failed:
            return
        try:
            etag = self._put(number)
        except BaseException:
            self._has_failed = True
            raise
        with self._lock:
            self._parts[number] = {"number": number, "etag": etag}
            if self._on_part is not None:
                self._on_part({"upload": self._upload_id, "parts": list(self._parts.values())})

    def _put(self, number: int) -> str:
        """Send one part, with retries, and return its ETag."""
        start = (number - 1) * self._part_size
        body = self._blob.slice(start, min(start + self._part_size, self._blob.size))
        transport = self._uploads._transport
        deadline = transport.start_deadline()
        return with_retries(
            lambda: self._put_once(number, body, deadline),
            retries=transport.options.retries,
            backoff_ms=transport.options.backoff_ms,
            deadline=deadline,
            is_transient=_is_transient,
            before_pause=self._before_pause,
        )

    def _put_once(self, number: int, body: Body, deadline: Deadline) -> str:
        headers = {"Content-Length": str(sum(len(part) for part in body))}
        request = Request("PUT", urlsplit(self._urls[number]), headers, body)
        etag = self._uploads._transport.exchange(request, deadline).headers.get("ETag")
        if etag is None:
            raise ValueError(f"part {number} of the upload: the answer to its PUT has no ETag")
        return etag

    def _before_pause(self, error: PareError | ConnectionError, backoff_ms: float) -> float:
        on_retry = self._uploads._transport.options.on_retry
        if on_retry is not None:
            on_retry(error, backoff_ms)
        # A signed URL that the bucket refuses has probably expired while other parts were sent.
        if isinstance(error, PareError) and error.status == 403:
            renewed = self._uploads._find_upload(self._upload_id)
            self._urls.update(_urls_of(renewed) if renewed else {})
        return backoff_ms


def _urls_of(upload: dict[str, Any]) -> dict[int, str]:
    return {part["number"]: part["url"] for part in upload["parts"]}


def _is_transient(error: PareError | ConnectionError) -> bool:
    """Whether a part can be sent again. The bucket sends 500 if it fails, and 403 if the URL has expired."""
    return isinstance(error, ConnectionError) or error.is_transient or error.status in (403, 500)
