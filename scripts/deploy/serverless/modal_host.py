"""A host with a GPU on Modal, which is started by a request.

Set the image and the bucket below. Then run `modal secret create pare-host PARE_KEYS=… EDGE_HOST_SECRET=…`
and `modal deploy scripts/deploy/serverless/modal_host.py`.
"""

import os
import subprocess

import modal

PORT = 8000

# Modal adds Python, which needs root, and starts its own program in place of the entry point.
image = modal.Image.from_registry(
    "registry.example.com/pare-host",
    setup_dockerfile_commands=["USER root"],
    add_python="3.12",
).entrypoint([])

VARIABLES = {
    "PORT": str(PORT),
    "PARE_REQUIRE_GPU": "1",
    "PARE_HOST_ID": "modal",
    "PARE_BLOB_ORIGINS": "https://account.r2.cloudflarestorage.com",
}

# The entry point and the command of the image.
COMMAND = [
    *("deno", "run", "-A", "--quiet", "--no-config"),
    *("/pare/bin/pare.mjs", "serve", "--host", "0.0.0.0"),
]

app = modal.App("pare-host")


@app.function(
    image=image,
    gpu="L4",
    secrets=[modal.Secret.from_name("pare-host")],
    # The edge asks the host that has a layer for the result, so there must be one host at the URL.
    max_containers=1,
    scaledown_window=300,
    timeout=24 * 3600,
)
@modal.concurrent(max_inputs=80)
@modal.web_server(PORT, startup_timeout=60)
def host() -> None:
    """Start the host as the user of the image. Modal sends requests to it as soon as it listens."""
    subprocess.Popen(COMMAND, env={**os.environ, **VARIABLES}, user=1993, group=1993, extra_groups=[])
