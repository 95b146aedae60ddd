"""Downloads a blob, a body that an edge stores under its digest, and verifies the bytes.

An edge is Pare's Cloudflare Worker in front of GPU hosts. It does not read the results of its hosts, so it
trusts a host's own statement of a digest. The client does not need to.
"""

from __future__ import annotations

import hashlib

from pare_llm.client.transport import Transport

# The number of downloads. Bytes that were damaged on their way are right in the second one.
_ATTEMPTS = 2


def download_blob(transport: Transport, digest: str, max_bytes: int) -> bytearray:
    """Return the bytes of the blob with the name `digest`, which is `sha256:HEX`.

    Raises:
        ValueError: if the bytes have another digest in every attempt, or if there are more than `max_bytes`.
        PareError: `not_found` if the edge does not store the blob.
    """
    got = ""
    for _ in range(_ATTEMPTS):
        body = transport.send("GET", f"/v1/blobs/{digest}", max_answer_bytes=max_bytes)
        got = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if got == digest:
            return body
    raise ValueError(
        f"blob {digest}: the server has sent bytes with the digest {got}, in {_ATTEMPTS} attempts"
    )
