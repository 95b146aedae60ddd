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
from kubeflow_trainer_api.models import JobsetV1alpha2JobSet, TrainerV1alpha1TrainJob
from recipes_support import PACKAGE, RECIPES, TEXT
from test_torchrun import load_script

HELM = ROOT / ".cache/helm/helm"
needs_helm = pytest.mark.skipif(
    not HELM.exists(), reason="Helm is missing; `deno task venv helm` installs it on Linux"
)

RUN = ["--values", str(RECIPES / "run.yaml")]
USES = {
    "hosts": [],
    "hosts with an edge": ["--set", "hosts.edge=https://edge.example.com"],
    "a run": [*RUN, "--set", "pod.nodeSelector.gpu=l4"],
    "a run with hosts": [*RUN, "--set", "run.hosts=2"],
}


def render(*arguments: str) -> list[Any]:
    """Return the manifests of the chart."""
    command = [str(HELM), "template", "pare", str(ROOT / "scripts/deploy/chart"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def validate(manifest: dict[str, Any]) -> None:
    """Check a manifest. The schema of a JobSet is that of Kubeflow Trainer, which has less strict Jobs."""
    kind = manifest["kind"]
    if kind == "JobSet":
        require_known_fields(JobsetV1alpha2JobSet, manifest)
        for job in manifest["spec"]["replicatedJobs"]:
            validate(
                {"apiVersion": "batch/v1", "kind": "Job", **job["template"], "metadata": {"name": "job"}}
            )
    elif kind != "PodMonitor":
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def require_known_fields(model: Any, manifest: dict[str, Any]) -> None:
    """Check a manifest by a model of Kubeflow Trainer, which drops fields that its schema lacks."""
    parsed = model.from_dict(manifest)
    assert parsed is not None
    assert parsed.to_dict() == manifest


@needs_helm
def test_helm_finds_no_mistake_in_the_chart() -> None:
    command = [str(HELM), "lint", "--strict", str(ROOT / "scripts/deploy/chart")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
@pytest.mark.parametrize("use", USES)
def test_the_manifests_follow_the_schemas_of_kubernetes(use: str) -> None:
    manifests = render(*USES[use])
    assert manifests
    for manifest in manifests:
        validate(manifest)


@needs_helm
def test_the_schemas_refuse_a_misspelt_rule() -> None:
    (broken,) = render(*USES["a run"])
    (rule, *_) = broken["spec"]["podFailurePolicy"]["rules"]
    rule["onExitCode"] = rule.pop("onExitCodes")
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(broken)


def run_job(models: Path, host: HostProcess, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the arguments of the Job with the volume at `models`, and with a short calibration."""
    (job,) = render(*RUN, "--set", f"run.server={host.url}")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    program = ["run", "-A", "scripts/launcher/pare.ts"]
    replaced = [*program, *(argument.replace("/models", str(models)) for argument in container["args"])]
    short = ["--samples=4", "--seqlen=64", "--backend=cpu", "--method=sparsegpt"]
    return subprocess.run(
        [*DENO, *replaced, *short, *more],
        cwd=ROOT,
        env={**os.environ, "PARE_API_KEY": "unused"},
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


@needs_helm
def test_the_job_prunes_the_model_and_may_be_started_again(models: Path, host: HostProcess) -> None:
    first = run_job(models, host)
    assert first.returncode == 0, first.stderr
    assert (models / "opt-125m-pruned/pare.json").exists()
    assert run_job(models, host).returncode == 0


@needs_helm
def test_the_exit_codes_of_usage_and_refusal_end_the_job(models: Path, host: HostProcess) -> None:
    (job,) = render(*RUN)
    (final,) = (
        rule["onExitCodes"]["values"]
        for rule in job["spec"]["podFailurePolicy"]["rules"]
        if rule["action"] == "FailJob"
    )
    usage = run_job(models, host, "--samples=none")
    (models / "opt-125m/config.json").unlink()
    refused = run_job(models, host)
    assert (usage.returncode, refused.returncode) == (2, 3)
    assert {usage.returncode, refused.returncode} <= set(final)


TRAIN_JOB = yaml.safe_load((PACKAGE / "train_job.yaml").read_text())


def test_the_train_job_follows_the_schema_of_kubeflow() -> None:
    require_known_fields(TrainerV1alpha1TrainJob, TRAIN_JOB)


def test_the_train_job_starts_the_script_with_arguments_that_it_accepts(tmp_path: Path) -> None:
    for program in ("pip", "torchrun"):
        (tmp_path / program).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (tmp_path / program).chmod(0o755)
    trainer = TRAIN_JOB["spec"]["trainer"]
    done = subprocess.run(
        [*trainer["command"], *trainer["args"]],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    _, package, script, *arguments = done.stdout.splitlines()
    clone = "/models/pare/"
    assert (ROOT / package.removeprefix(clone).partition("[")[0] / "pyproject.toml").exists()
    assert ROOT / script.removeprefix(clone) == PACKAGE / "prune.py"
    parsed = load_script().parser.parse_args(arguments)
    assert (parsed.out, parsed.pattern, len(parsed.host)) == ("/models/opt-125m-pruned", "2:4", 2)
