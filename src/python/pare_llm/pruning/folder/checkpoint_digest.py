"""The digest of a checkpoint folder, by which a journal recognises the checkpoint of its run."""

import hashlib

from pare_llm.checkpoints.folder import CONFIG_FILE, CheckpointFolder


def checkpoint_digest(source: CheckpointFolder) -> str:
    """Return a digest of the configuration, of the size and time of each file, and of the tensors in it.

    The values of the tensors are left out, because reading them would take as long as pruning.
    """
    digest = hashlib.sha256((source.path / CONFIG_FILE).read_bytes())
    for path in source.files():
        status = path.stat()
        digest.update(f"{path.name}:{status.st_size}:{status.st_mtime_ns};".encode())
    for name in source.names():
        digest.update(f"{source.info(name)};".encode())
    return f"sha256:{digest.hexdigest()}"
