"""The manifests follow the schemas of Kubernetes, and the command of the Job runs as it is."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from conftest import DENO, MODELS, ROOT, HostProcess
from recipes_support import RECIPES, TEXT

FOLDER = RECIPES / "command_line"
FILES = sorted([*FOLDER.glob("*.yaml"), *(ROOT / "scripts/deploy/kubernetes").glob("*.yaml")])

# Kinds that are not part of Kubernetes itself, so that its schemas do not describe them.
FOREIGN_KINDS = {"Kustomization", "PodMonitor"}


def manifests(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


JOB = manifests(FOLDER / "prune_job.yaml")[0]
DEPLOYMENT, SERVICE = manifests(FOLDER / "host_deployment.yaml")
(CONTAINER,) = JOB["spec"]["template"]["spec"]["containers"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_manifests_follow_the_schemas_of_kubernetes(path: Path) -> None:
    for manifest in manifests(path):
        if manifest["kind"] not in FOREIGN_KINDS:
            kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_the_schemas_refuse_a_misspelt_rule() -> None:
    broken = yaml.safe_load((FOLDER / "prune_job.yaml").read_text().replace("onExitCodes", "onExitCode"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_the_job_reaches_the_host_by_the_name_of_the_service() -> None:
    (port,) = SERVICE["spec"]["ports"]
    assert CONTAINER["env"][0] == {
        "name": "PARE_SERVER",
        "value": f"http://{SERVICE['metadata']['name']}:{port['port']}",
    }
    pod = DEPLOYMENT["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == SERVICE["spec"]["selector"] == labels
    (host,) = pod["spec"]["containers"]
    assert [named["name"] for named in host["ports"]] == [port["targetPort"]]
    number = str(host["ports"][0]["containerPort"])
    assert host["args"][:5] == ["serve", "--host", "0.0.0.0", "--port", number]
    assert host["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_the_secret_of_both_is_the_one_that_the_comment_creates() -> None:
    comment = (FOLDER / "host_deployment.yaml").read_text().split("apiVersion")[0]
    (host,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    for variable in [*host["env"], *CONTAINER["env"][1:]]:
        reference = variable["valueFrom"]["secretKeyRef"]
        assert f"secret generic {reference['name']} " in comment
        assert f"--from-literal={reference['key']}=" in comment
        assert reference["key"] == variable["name"]


def run_job(models: Path, host: HostProcess, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the arguments of the Job with the volume at `models`, and with a short calibration."""
    program = ["run", "-A", "scripts/launcher/pare.ts"]
    replaced = [*program, *(argument.replace("/models", str(models)) for argument in CONTAINER["args"])]
    short = ["--samples=4", "--seqlen=64", "--backend=cpu", "--method=sparsegpt"]
    return subprocess.run(
        [*DENO, *replaced, *short, *more],
        cwd=ROOT,
        env={**os.environ, "PARE_SERVER": host.url, "PARE_API_KEY": "unused"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return the content of the volume."""
    shutil.copytree(MODELS / "opt-sotu", tmp_path / "opt-125m")
    shutil.copyfile(TEXT, tmp_path / "calibration.txt")
    return tmp_path


def test_the_job_prunes_the_model_and_may_be_started_again(models: Path, host: HostProcess) -> None:
    first = run_job(models, host)
    assert first.returncode == 0, first.stderr
    assert (models / "opt-125m-pruned/pare.json").exists()
    assert run_job(models, host).returncode == 0


def test_the_exit_codes_of_usage_and_refusal_end_the_job(models: Path, host: HostProcess) -> None:
    (final,) = (
        rule["onExitCodes"]["values"]
        for rule in JOB["spec"]["podFailurePolicy"]["rules"]
        if rule["action"] == "FailJob"
    )
    usage = run_job(models, host, "--samples=none")
    (models / "opt-125m/config.json").unlink()
    refused = run_job(models, host)
    assert (usage.returncode, refused.returncode) == (2, 3)
    assert {usage.returncode, refused.returncode} <= set(final)
