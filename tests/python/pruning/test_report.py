"""The report of a run: totals, the table of notebooks, `pare.json` and the page of the command line."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import DENO, ROOT
from pare_llm import PruneReport, prune_
from pruning_support import LocalClient, tiny_model, token_batches

PARE = [*DENO, "run", "-A", "--no-check", str(ROOT / "src/cli/main.ts")]


@pytest.fixture(scope="module")
def report() -> PruneReport:
    model = tiny_model("llama")
    batches = [{"input_ids": batch} for batch in token_batches(2, rows=3, tokens=12)]
    return prune_(
        model, batches, LocalClient(), method="wanda", layers=["mlp.*_proj", "q_proj"][1:], progress=False
    )


def test_totals_are_sums_over_the_layers(report: PruneReport) -> None:
    assert [layer.name for layer in report.layers] == [f"model.layers.{i}.self_attn.q_proj" for i in range(3)]
    assert (report.zeros, report.entries, report.sparsity) == (3 * 512, 3 * 1024, 0.5)
    assert report.seconds == sum(layer.seconds + layer.calibration_seconds for layer in report.layers)
    assert all(layer.calibration_seconds > 0 for layer in report.layers)


class TextOfCells(HTMLParser):
    """Collects the texts of the cells of a table, row by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._is_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        self._is_cell = tag in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self.rows[-1].append(data)


def test_the_report_shows_itself_as_a_table_in_a_notebook(report: PruneReport) -> None:
    html = report._repr_html_()
    assert "50.00% of the 3,072 weights in 3 layers" in html
    head, *rows = TextOfCells(html).rows
    assert head[:2] == ["layer", "shape"]
    assert [row[:4] for row in rows] == [
        [f"model.layers.{i}.self_attn.q_proj", "32 x 32", "wanda", "unstructured"] for i in range(3)
    ]


def test_pare_json_has_the_form_of_the_command_line(report: PruneReport, tmp_path: Path) -> None:
    path = report.save(tmp_path / "folder")
    assert path == tmp_path / "folder/pare.json"
    content = json.loads(path.read_text())
    sample = json.loads((ROOT / "tests/prune/report/opt_sotu_run.json").read_text())
    assert content.keys() == sample.keys()
    assert content["layers"][0].keys() >= sample["layers"][0].keys()
    assert content["model"] == {
        "name": "LlamaForCausalLM",
        "model_type": "llama",
        "blocks": 3,
        "hidden_size": 32,
    }
    assert content["calibration"]["samples"] == 6
    assert content["calibration"]["seqlen"] == 12
    assert content["parameters"] == {
        "method": "wanda",
        "token_weights": "unit",
        "sparsity": 0.5,
        "pattern": "unstructured",
        "layers": ["q_proj"],
    }
    assert content["layers"][1]["name"] == "model.layers.1.self_attn.q_proj.weight"
    assert len(content["skipped"]) == 18


def test_the_page_is_drawn_by_the_command_line(report: PruneReport, tmp_path: Path) -> None:
    page = report.to_html(tmp_path / "pages/run.html", command=PARE)
    html = page.read_text()
    assert html.startswith("<!DOCTYPE html>")
    assert "<h1>LlamaForCausalLM, pruned</h1>" in html
    assert "self_attn.q_proj" in html


def test_without_the_command_line_the_error_says_what_is_missing(report: PruneReport, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="the command line of Pare draws the page, and the program 'pare-x'"
    ):
        report.to_html(tmp_path / "run.html", command=["pare-x"])
    with pytest.raises(RuntimeError, match="report failed: error: unknown option '--unknown'"):
        report.to_html(tmp_path / "run.html", command=[*PARE, "prune", "--unknown"])


def test_the_printed_report_is_a_summary(report: PruneReport) -> None:
    lines = str(report).splitlines()
    assert len(lines) <= 12
    assert lines[0].startswith("50.00% of the 3,072 weights in 3 layers of LlamaForCausalLM are zero (")
    assert "method wanda" in lines[1]
    assert "6 windows of up to 12 tokens" in lines[2]
    assert "left dense: 18 matrices" in str(report)
    assert len(str(report)) < 2000


def test_experts_with_few_tokens_are_in_a_warning_and_in_the_printed_report() -> None:
    few = token_batches(1, rows=1, tokens=8)
    message = "fewer calibration tokens than columns reached"
    with pytest.warns(UserWarning, match=f"^prune_: {message}"):
        report = prune_(tiny_model("mixtral"), few, LocalClient(), method="wanda", progress=False)
    assert f"warning: {message} {len(report.starved)} layers of experts" in str(report)
    assert all((layer.tokens or 0) < layer.report["cols"] for layer in report.starved)
