"""The windows of a calibration text are those of the command `pare prune`."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DENO, MODELS, ROOT
from pare_llm import calibration_windows, hold_out
from transformers import AutoTokenizer


def windows_of_command(
    model: Path, samples: int, seqlen: int, *texts: str | Path, validation: float = 0
) -> subprocess.CompletedProcess[str]:
    script = "tests/python/pruning/command_windows.ts"
    arguments = [str(model), str(samples), str(seqlen), str(validation), *map(str, texts)]
    command = [*DENO, "run", "-A", "--no-check", "--quiet", script, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def tokenizer_of(model: str) -> Any:
    return AutoTokenizer.from_pretrained(MODELS / model)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a text, the same text with other line ends and a byte order mark, and one with documents."""
    folder = tmp_path_factory.mktemp("texts")
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (folder / "windows.txt").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    documents = [json.dumps({"text": part, "id": 1}) for part in text.split("\n\n")]
    (folder / "documents.jsonl").write_text("\n \n".join(documents))
    return {
        "txt": ROOT / "CONTRIBUTING.md",
        "crlf": folder / "windows.txt",
        "jsonl": folder / "documents.jsonl",
    }


@pytest.mark.parametrize("kind", ["txt", "crlf", "jsonl"])
@pytest.mark.parametrize("model", ["opt-sotu", "llama-sotu", "bloom-sotu"])
def test_the_windows_are_those_of_the_command(model: str, kind: str, texts: dict[str, Path]) -> None:
    windows = calibration_windows(tokenizer_of(model), texts[kind], 7, 50)
    assert windows.shape == (7, 50)
    expected = windows_of_command(MODELS / model, 7, 50, texts[kind])
    assert windows.tolist() == json.loads(expected.stdout)[0], expected.stderr


@pytest.mark.parametrize("samples", [7, 8, 35])
def test_the_held_out_windows_are_those_of_the_command(samples: int, texts: dict[str, Path]) -> None:
    windows = calibration_windows(tokenizer_of("opt-sotu"), texts["txt"], samples, 20)
    expected = windows_of_command(MODELS / "opt-sotu", samples, 20, texts["txt"], validation=0.125)
    assert [part.tolist() for part in hold_out(windows)] == json.loads(expected.stdout), expected.stderr
    assert [len(part) for part in hold_out(windows, 0)] == [samples, 0]


@pytest.mark.parametrize(("samples", "shares"), [(10, (1, 1)), (11, (0.7, 0.3)), (5, (1, 1000)), (2, (3, 1))])
def test_several_texts_have_the_windows_of_the_command(
    samples: int, shares: tuple[float, float], texts: dict[str, Path]
) -> None:
    chosen = dict(zip((texts["txt"], texts["jsonl"]), shares, strict=True))
    windows = calibration_windows(tokenizer_of("opt-sotu"), chosen, samples, 20)
    options = [f"{text}={share}" for text, share in chosen.items()]
    expected = windows_of_command(MODELS / "opt-sotu", samples, 20, *options)
    assert windows.tolist() == json.loads(expected.stdout)[0], expected.stderr


def test_shares_that_cannot_be_given_are_refused(texts: dict[str, Path]) -> None:
    tokenizer, two = tokenizer_of("opt-sotu"), {texts["txt"]: 1.0, texts["jsonl"]: 1.0}
    with pytest.raises(ValueError, match="samples: 1 windows are fewer than the 2 texts"):
        calibration_windows(tokenizer, two, 1, 20)
    with pytest.raises(
        ValueError, match=r"CONTRIBUTING\.md: the share of a text must be larger than 0, got 0"
    ):
        calibration_windows(tokenizer, {texts["txt"]: 0}, 4, 20)
    with pytest.raises(ValueError, match=r"share of held-out windows: must be from 0 to 0\.5, got 0\.6"):
        hold_out(torch.zeros(8, 2), 0.6)


def test_a_text_that_is_too_short_is_refused_as_by_the_command(texts: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"has \d+ tokens, but 128 windows of 2048 need 262144$") as caught:
        calibration_windows(tokenizer_of("opt-sotu"), str(texts["txt"]), 128, 2048)
    refused = windows_of_command(MODELS / "opt-sotu", 128, 2048, texts["txt"])
    assert refused.returncode != 0
    assert str(caught.value) in refused.stderr


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jsonl", b'{"text":"a"}\n{"text":1}', r'line 2: must be an object with a string "text"$'),
        ("a.jsonl", b'{"text":"a"}\n\n{', r"line 3: is not valid JSON$"),
        ("a.txt", b"\xff", "is not valid UTF-8$"),
    ],
)
def test_a_malformed_text_is_refused(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        calibration_windows(tokenizer_of("opt-sotu"), tmp_path / name, 1, 1)


@pytest.mark.parametrize(("samples", "seqlen"), [(0, 1), (1, 0)])
def test_there_must_be_a_window_with_a_token(samples: int, seqlen: int) -> None:
    with pytest.raises(ValueError, match=f"at least one sample and one token, got {samples} and {seqlen}$"):
        calibration_windows(tokenizer_of("opt-sotu"), "missing.txt", samples, seqlen)
