"""A run with a journal continues after the last finished layer, and ends with the same bytes."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import HostProcess
from pare_llm import LayerResult, Pare, PruneReport
from pare_llm.pruning.journal import Journal
from pruning_support import (
    LocalClient,
    StoppingClient,
    require_equal,
    shard,
    solve_report,
    tiny_model,
    token_batches,
)
from pruning_support import run as prune
from ranks import run_on_ranks
from torch import distributed as dist
from torch.multiprocessing import ProcessExitedException

LAYERS = 18
"""The number of layers of the model, six per block."""


def run(
    journal: Path | None, client: Any = None, model: Any = None, **options: Any
) -> tuple[Any, PruneReport]:
    """Prune a model, which by default is freshly loaded."""
    model = model or tiny_model("opt")
    return model, prune(model, client, journal=journal, **options)


def stop_after(layers: int, journal: Path) -> None:
    """Run until so many layers are finished."""
    with pytest.raises(ConnectionError):
        run(journal, StoppingClient(layers))


def weight_file(journal: Path, layer: str) -> Path:
    return journal / "layers" / f"{layer}.safetensors"


@pytest.mark.parametrize("finished", [1, 6, 8, 17, 18])
def test_the_run_continues_after_the_last_finished_layer(finished: int, tmp_path: Path) -> None:
    if finished < LAYERS:
        stop_after(finished, tmp_path)
    else:
        run(tmp_path)
    client = LocalClient()
    model, report = run(tmp_path, client)
    expected, expected_report = run(None)
    assert len(client.hessians) == LAYERS - finished
    require_equal(model, expected)
    assert [layer.name for layer in report.layers] == [layer.name for layer in expected_report.layers]
    assert [layer.report for layer in report.layers] == [layer.report for layer in expected_report.layers]
    assert report.facts.resumed == 1


def test_a_run_may_be_stopped_several_times(tmp_path: Path) -> None:
    for _ in range(4):
        stop_after(4, tmp_path)
    model, report = run(tmp_path)
    require_equal(model, run(None)[0])
    assert report.facts.resumed == 4


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)


def swap_with_another_layer(path: Path) -> None:
    shutil.copyfile(path.with_name(path.name.replace("q_proj", "k_proj")), path)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink, swap_with_another_layer])
def test_a_layer_whose_file_is_damaged_is_pruned_again(damage: Callable[[Path], Any], tmp_path: Path) -> None:
    stop_after(10, tmp_path)
    layers = [f"model.decoder.layers.{block}.self_attn.q_proj" for block in (0, 1)]
    for layer in layers:
        damage(weight_file(tmp_path, layer))
    client = LocalClient()
    model, _ = run(tmp_path, client)
    assert len(client.hessians) == LAYERS - 10 + len(layers)
    require_equal(model, run(None)[0])


def edit_report(path: Path) -> None:
    path.write_text(path.read_text().replace('"zeros": ', '"zeros": 1', 1))


def remove_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))


@pytest.mark.parametrize(
    "damage", [flip_a_bit, edit_report, remove_a_line, lambda path: path.write_text("[]\n")]
)
def test_a_damaged_journal_file_is_refused(damage: Callable[[Path], Any], tmp_path: Path) -> None:
    stop_after(3, tmp_path)
    damage(tmp_path / "journal.jsonl")
    with pytest.raises(
        ValueError, match=re.escape(f"{tmp_path / 'journal.jsonl'}: line ") + r"\d is damaged"
    ):
        run(tmp_path)


def test_a_layer_whose_line_is_incomplete_is_pruned_again(tmp_path: Path) -> None:
    stop_after(3, tmp_path)
    truncate(tmp_path / "journal.jsonl")
    client = LocalClient()
    model, _ = run(tmp_path, client)
    assert len(client.hessians) == LAYERS - 2
    require_equal(model, run(None)[0])
    client = LocalClient()
    run(tmp_path, client)
    assert client.hessians == []


def test_the_journal_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.json").write_text("{}")
    with pytest.raises(ValueError, match="has the journal of an earlier version of pare_llm"):
        run(tmp_path)


def test_a_finished_layer_only_appends_to_the_journal(tmp_path: Path) -> None:
    path, seen = tmp_path / "journal.jsonl", [b""]

    def on_layer(_: Any) -> None:
        before, now = seen[-1], path.read_bytes()
        assert now.startswith(before)
        assert now.count(b"\n") == len(seen) + 1
        seen.append(now)

    run(tmp_path, on_layer=on_layer)
    assert len(seen) == LAYERS + 1
    assert len({path.stat().st_ino, *(tmp_path.glob("*.partial"))}) == 1


def test_a_layer_takes_no_longer_after_twenty_thousand_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # its time is that of the disk
    weight, report = torch.ones(1, 1), solve_report(torch.ones(1, 1), zeros=0, method="wanda")
    times = [time.process_time()]
    with Journal(tmp_path, {}) as journal:
        for batch in range(20):
            for layer in range(1000):
                name = f"layers.{batch}.experts.{layer}.down_proj"
                journal.record(weight, LayerResult(name, f"{name}.weight", batch, report, 0, 0))
            times.append(time.process_time())
    first, *_, last = (end - start for start, end in pairwise(times))
    assert last <= 2 * first, (first, last)
    with Journal(tmp_path, {}) as journal:
        assert list(journal.finished([name])) == [name]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("sparsity was absent and is 0.25", {"sparsity": 0.25}),
        ("method was 'wanda' and is 'magnitude'", {"method": "magnitude"}),
        ("batches was sha256:", {"batches": token_batches(3)}),
        ("batches was sha256:", {"batches": token_batches(2, seed=9)}),
        ("layers was sha256:", {"layers": ["fc1", "self_attn.*_proj".replace("self_attn.*", "q")]}),
        ("model was sha256:", {"model": tiny_model("opt", seed=1)}),
    ],
)
def test_the_journal_of_other_arguments_is_refused_by_name(
    name: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    stop_after(3, tmp_path)
    before = (tmp_path / "journal.jsonl").read_bytes()
    with pytest.raises(ValueError, match=f"is the journal of another run: .*{re.escape(name)}"):
        run(tmp_path, **changed)
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    class Nested(LocalClient):
        def prune_layer(self, *args: Any, **options: Any) -> Any:
            with pytest.raises(RuntimeError, match="another process is working on the run"):
                run(tmp_path)
            return super().prune_layer(*args, **options)

    run(tmp_path, Nested(), layers=["0.fc1"])


def test_layers_of_another_adapter_are_refused(tmp_path: Path) -> None:
    stop_after(3, tmp_path)

    class OtherAdapter(LocalClient):
        def prune_layer(self, *args: Any, **options: Any) -> Any:
            pruned = super().prune_layer(*args, **options)
            pruned.report["adapter"] = "another device"
            return pruned

    with pytest.raises(RuntimeError, match=r"was solved on cpu \(another device\), but the first layer"):
        run(tmp_path, OtherAdapter())


class DyingPare(Pare):
    """A client that ends this process, as a kill would, before its fifth layer.

    Each of two ranks solves three layers of a block, so the first block is finished by then.
    """

    calls = 0

    def prune_layer(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prune_layer(*args, **options)


def prune_on_rank(journal: Path, url: str, dies: bool) -> tuple[dict[str, Any], PruneReport]:
    client = DyingPare(url) if dies and dist.get_rank() == 1 else Pare(url)
    batches = token_batches(4)[dist.get_rank() :: 2]
    model, report = run(journal, client, shard(tiny_model("opt")), batches=batches, method="alps")
    return {name: values.full_tensor().detach() for name, values in model.named_parameters()}, report


def test_a_run_whose_rank_was_killed_is_resumed_with_the_same_bytes(
    host: HostProcess, tmp_path: Path
) -> None:
    killed, whole = tmp_path / "journal", tmp_path / "whole-journal"
    with pytest.raises(ProcessExitedException):
        run_on_ranks(prune_on_rank, 2, killed, host.url, True)
    finished = (killed / "journal.jsonl").read_text().count('"layer": ')
    assert 6 <= finished < LAYERS
    resumed = run_on_ranks(prune_on_rank, 2, killed, host.url, False)
    expected = run_on_ranks(prune_on_rank, 2, whole, host.url, False)
    for (state, report), (wanted, _) in zip(resumed, expected, strict=True):
        assert all(torch.equal(state[name], values) for name, values in wanted.items())
        assert report.facts.resumed == 1
    for path in (whole / "layers").iterdir():
        assert path.read_bytes() == (killed / "layers" / path.name).read_bytes()
