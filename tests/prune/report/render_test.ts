/**
 * Tests the HTML of the report page. The page is self-contained, escapes all texts, and shows the data of the
 * run. The layout is tested in `page_test.ts`.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { DOMParser } from "linkedom";
import { renderReport } from "../../../src/prune/report/render.tsx";
import { type RunReport, runReportSchema } from "../../../src/prune/report/run_report.ts";
import { deepRun, sampleRun } from "./sample_run.ts";

function page(run: RunReport) {
  return new DOMParser().parseFromString(renderReport(run), "text/html");
}

type Labelled = { readonly localName: string } | null;

/** The texts of all elements that match the selector. */
function texts(run: RunReport, selector: string): string[] {
  return [...page(run).querySelectorAll(selector)].map((element) => element.textContent);
}

describe("renderReport", () => {
  it("makes a self-contained page that loads nothing and runs no script", () => {
    const html = renderReport(sampleRun());
    assert.match(html, /^<!DOCTYPE html><html lang="en">/i);
    const document = page(sampleRun());
    assert.equal(
      document.querySelector('meta[name="viewport"]')?.content,
      "width=device-width, initial-scale=1",
    );
    const policy = document.querySelector('meta[http-equiv="Content-Security-Policy"]')?.content;
    assert.equal(policy, "default-src 'none'; style-src 'unsafe-inline'");
    assert.doesNotMatch(html, /<script|<link|<img|<iframe|@import|\bsrc=|\bhref=|url\(/);
    for (const url of html.match(/https?:[^"'\s]+/g) ?? []) assert.match(url, /^http:\/\/www\.w3\.org\//); // namespaces
  });

  it("renders the same run as the same HTML text every time", () => {
    assert.equal(renderReport(sampleRun()), renderReport(sampleRun()));
  });

  it("shows the sparsities of an allocation and its measurements, and no such column without one", () => {
    const run = sampleRun();
    assert.ok(!texts(run, "th").includes("Allocated"));
    const names = run.layers.map(({ name }) => name);
    const sparsities = { [names[0]]: 0.4375, [names[2]]: 0.5625 };
    const allocated = { ...run, allocation: { name: "owl" as const, sparsities, notes: ["One.", "Two."] } };
    assert.deepEqual(runReportSchema.parse(JSON.parse(JSON.stringify(allocated))), allocated);
    const column = texts(allocated, "thead th").indexOf("Allocated");
    const cells = [...page(allocated).querySelectorAll("tbody tr")].map((row) =>
      row.children[column].textContent
    );
    assert.deepEqual(cells.slice(0, 3), ["0.4375", "–", "0.5625"]);
    assert.match(texts(allocated, "dl:not(.figures)")[0], /AllocationOne\. Two\./);
  });

  it("warns of layers with fewer calibration tokens than columns, and shows the tokens of every layer", () => {
    const run = sampleRun(), { cols } = run.layers[0];
    assert.ok(!texts(run, "th").includes("Tokens"));
    assert.ok(texts(run, ".note").every((text) => !text.startsWith("Warning")));
    const counts = [cols, cols - 1, 0];
    const layers = run.layers.map((layer, i) =>
      i < counts.length ? { ...layer, cols, tokens: counts[i] } : layer
    );
    const mixture = { ...run, layers };
    assert.deepEqual(runReportSchema.parse(JSON.parse(JSON.stringify(mixture))), mixture);
    const column = texts(mixture, "thead th").indexOf("Tokens");
    const cells = [...page(mixture).querySelectorAll("tbody tr")].map((row) =>
      row.children[column].textContent
    );
    assert.deepEqual(cells.slice(0, 4), [...counts.map(String), "all"]);
    const [warning] = texts(mixture, ".note").filter((text) => text.startsWith("Warning"));
    assert.match(warning, /^Warning: 2 layers were reached by fewer .* and 1 of them by none\./);
  });

  it("shows the results and the settings of the run", () => {
    const run = sampleRun();
    const zeros = run.layers.reduce((sum, layer) => sum + layer.zeros, 0);
    const values = texts(run, ".figures dd:not(.note)");
    const [{ dense, pruned }] = run.perplexity;
    assert.equal(values[0], "50.0 %");
    assert.equal(values[1], `${dense!.toFixed(2)} → ${pruned!.toFixed(2)}`);
    assert.doesNotMatch(texts(run, ".figures .note")[1], /KL/);
    const compared = { ...run, perplexity: [{ ...run.perplexity[0], divergence: 0.04251 }] };
    assert.match(texts(compared, ".figures .note")[1], /KL divergence from the dense model: 0\.0425$/);
    assert.match(
      texts(run, ".figures .note")[0],
      new RegExp(`^${zeros.toLocaleString("en")} of 1,769,472 weights`),
    );
    assert.match(
      texts(run, "dl:not(.figures)")[0],
      /32 windows of 256 tokens of calibration\.txt, evenly spaced/,
    );
    assert.match(texts(run, "dl:not(.figures)")[0], /Not prunedno layer was skipped/);
    const skipped = { ...run, skipped: ["model.decoder.layers.0.fc1.weight"] };
    assert.match(texts(skipped, "dl:not(.figures)")[0], /Not prunedmodel\.decoder\.layers\.0\.fc1\.weight/);
    assert.equal(
      texts(run, "header .lead")[0].split(".  ")[0].split(". ")[0],
      "sparsegpt unstructured: 50.0 % of the weights of 24 layers in 4 blocks are zero",
    );
  });

  it("has one table row per layer, with row and column headers, in one foldable table per block", () => {
    const document = page(sampleRun()), blocks = [...document.querySelectorAll("details")];
    assert.equal(document.querySelectorAll("tbody tr").length, 24);
    assert.deepEqual(blocks.map((block) => block.querySelectorAll('thead th[scope="col"]').length), [
      6,
      6,
      6,
      6,
    ]);
    assert.ok(blocks.every((block) => !block.hasAttribute("open")));
    assert.match(
      blocks[3].querySelector("summary")!.textContent,
      /^Block 3.*6 layers.*50\.0 % zeros.*mean error 0\.0/,
    );
    const name = blocks[3].querySelector('tbody tr:last-child th[scope="row"]');
    assert.equal(name?.textContent, "fc2");
    assert.equal(name?.getAttribute("title"), "model.decoder.layers.3.fc2.weight");
  });

  it("has one row and one bar for the experts of a block that have the same role", () => {
    const run = sampleRun(), [layer] = run.layers;
    const layers = [0, 1].flatMap((block) =>
      ["up", "down"].flatMap((role) =>
        [0, 1, 2].map((expert) => ({
          ...layer,
          block,
          name: `model.layers.${block}.mlp.experts.${expert}.${role}_proj.weight`,
          relative_error: 0.01 * (expert + 1),
          tokens: 100 * expert,
        }))
      )
    );
    const mixture = { ...run, model: { ...run.model, blocks: 2 }, layers };
    assert.deepEqual(texts(mixture, "tbody th").slice(0, 2), [
      "mlp.experts.*.up_proj (3)",
      "mlp.experts.*.down_proj (3)",
    ]);
    assert.match(texts(mixture, "tbody tr")[0], /0\.02000.*0 to 200/);
    assert.equal(
      page(mixture).querySelector("figure svg")!.querySelectorAll('[aria-label="bar"] rect').length,
      4,
    );
  });

  it("says that weights were rounded, and to which grids", () => {
    const run = sampleRun();
    assert.ok(!texts(run, ".figures dt").includes("Rounding"));
    const rounded = { ...run, parameters: { bits: 4, group_size: 64, symmetric: true } };
    assert.equal(texts(rounded, "h1")[0], "opt-sotu, pruned and rounded");
    assert.match(texts(rounded, "header .lead")[0], /are zero, and the others are rounded to 4 bits\./);
    const figure = texts(rounded, ".figures > div").find((text) => text.startsWith("Rounding"));
    assert.equal(
      figure,
      "Rounding4 bitsthe kept weights have 16 values, one grid per row and 64 columns, symmetric",
    );
    const byProfile = { ...run, format: "pack-quantized" as const, parameters: { profile: "p.json" } };
    assert.ok(texts(byProfile, ".figures > div").some((text) => text.startsWith("Roundingby profile")));
    const dense = { ...rounded, layers: run.layers.map((layer) => ({ ...layer, zeros: 0, sparsity: 0 })) };
    assert.equal(texts(dense, "h1")[0], "opt-sotu, rounded");
  });

  it("shows the command that repeats the run above the layers, if the command line pruned the model", () => {
    const run = sampleRun();
    assert.deepEqual(texts(run, "pre"), []);
    const command = "pare prune opt-sotu --out FOLDER --skip '*.<b>'";
    const document = page({ ...run, command });
    assert.equal(document.querySelector("pre code")?.textContent, command);
    const headings = [...document.querySelectorAll("section > h2")].map(({ textContent }) => textContent);
    assert.deepEqual(headings, ["Details of the run", "Layers"]);
  });

  it("draws one error bar per layer and one time bar per phase and block, and no chart of equal sparsities", () => {
    const document = page(sampleRun());
    const bars = [...document.querySelectorAll("figure svg")].map((svg) =>
      svg.querySelectorAll('[aria-label="bar"] rect').length
    );
    assert.deepEqual(bars, [24, 4 * 4]);
  });

  it("draws one sparsity bar per layer if the sparsities of the layers differ", () => {
    const sparsity = page(deepRun(5)).querySelectorAll("figure svg")[1];
    assert.equal(sparsity.querySelectorAll('[aria-label="bar"] rect').length, 6 * 5);
    assert.match(sparsity.textContent, /From 40\.0 % to 60\.0 %/);
  });

  it("gives every chart a title and a description with unique ids", () => {
    const document = page(sampleRun());
    const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
    assert.equal(new Set(ids).size, ids.length);
    for (const svg of document.querySelectorAll("figure svg")) {
      assert.equal(svg.getAttribute("role"), "img");
      const labels = svg.getAttribute("aria-labelledby")!.split(" ").map((id: string) =>
        document.getElementById(id)
      );
      assert.deepEqual(labels.map((label: Labelled) => label?.localName), ["title", "desc"]);
      for (const label of labels) assert.ok(label!.textContent!.length > 10);
    }
  });

  it("shows the held-out windows, the error of each block on them, and the warnings", () => {
    const run = sampleRun(), { blocks } = run.model;
    assert.ok(!texts(run, "figure h2").includes("Error of the blocks"));
    const measured: RunReport = {
      ...run,
      calibration: { ...run.calibration, validation_samples: 3 },
      blocks: [{ block: 0, error: 0.0125 }, { block: blocks - 1, error: null }],
      warnings: ["One warning"],
    };
    assert.deepEqual(runReportSchema.parse(JSON.parse(JSON.stringify(measured))), measured);
    assert.ok(texts(measured, "figure h2").includes("Error of the blocks"));
    assert.match(texts(measured, "#block-error-chart-desc, desc").join(), /From 0\.01250 to 0\.01250\./);
    assert.ok(texts(measured, ".note").includes("Warning: One warning."));
    assert.match(texts(measured, "dl:not(.figures)")[0], /; 3 of them held out/);
  });

  it("shows the errors of the blocks before and after their reconstruction, also without held-out windows", () => {
    const reconstruction = { epochs: 10, before: 0.25, after: 0.125, kept_epoch: 9 };
    const failed = { epochs: 10, before: null, after: null, kept_epoch: 0 };
    const run: RunReport = {
      ...sampleRun(),
      blocks: [{ block: 0, reconstruction }, { block: 1, reconstruction: failed }],
    };
    assert.deepEqual(runReportSchema.parse(JSON.parse(JSON.stringify(run))), run);
    assert.ok(!texts(sampleRun(), "figure h2").includes("Reconstruction"));
    assert.ok(texts(run, "figure h2").includes("Reconstruction"));
    assert.match(texts(run, "#reconstruction-chart-desc, desc").join(), /From 0\.1250 to 0\.2500\./);
    const svg = page(run).getElementById("reconstruction-chart-title")!.parentElement!.textContent!;
    assert.ok(svg.includes("before reconstruction") && svg.includes("after reconstruction"));
  });

  it("counts the blocks that kept their targets", () => {
    const decision = (kept: boolean) => ({ kept, error_with: 0.25, error_without: null });
    const run: RunReport = {
      ...sampleRun(),
      blocks: [true, false, true].map((kept, block) => ({ block, targets: decision(kept) })),
    };
    assert.deepEqual(runReportSchema.parse(JSON.parse(JSON.stringify(run))), run);
    assert.match(texts(run, "dl:not(.figures)")[0], /Targets\s*kept in 2 of 3 blocks/);
    assert.doesNotMatch(texts(sampleRun(), "dl:not(.figures)")[0], /Targets/);
  });

  it("never turns a text of the run into markup", () => {
    const evil = `</title></style><script>alert("1")</script>&amp;<img src=x onerror='a'>`;
    const run = sampleRun();
    const hostile: RunReport = {
      ...run,
      model: { ...run.model, name: evil, model_type: evil },
      parameters: { [evil]: evil, nested: { [evil]: [evil] } },
      calibration: { ...run.calibration, text: evil },
      adapter: evil,
      skipped: [evil],
      perplexity: [{ ...run.perplexity[0], text: evil }],
      layers: [{ ...run.layers[0], name: evil }],
    };
    const document = page(hostile);
    assert.deepEqual([...document.querySelectorAll("script, img")], []);
    assert.equal(document.querySelectorAll("title").length, 1 + 2); // one for the page and one for each chart
    assert.equal(document.querySelector("h1")?.textContent, `${evil}, pruned`);
    assert.equal(document.querySelector("tbody th")?.getAttribute("title"), evil);
    assert.doesNotMatch(renderReport(hostile), /<script|<img/);
  });

  it("states which values were not measured", () => {
    const run = sampleRun();
    const layers = run.layers.map((layer) => ({ ...layer, relative_error: null, loss: null, damping: null }));
    const unmeasured = { ...run, layers, perplexity: [] };
    assert.deepEqual(texts(unmeasured, "figure h2"), ["Time"]);
    assert.doesNotMatch(renderReport(unmeasured), /NaN|undefined|null|Infinity/);
  });

  it("states that a perplexity is not finite", () => {
    const run = sampleRun();
    const broken = { ...run, perplexity: [{ ...run.perplexity[0], dense: 12, pruned: null }] };
    assert.equal(texts(broken, ".figures dd:not(.note)")[1], "12.00 → not finite");
    assert.deepEqual(runReportSchema.parse(JSON.parse(JSON.stringify(broken))), broken);
  });

  it("renders a run without layers and a run with a single block, without writing NaN or undefined", () => {
    const run = sampleRun();
    const none = renderReport({ ...run, layers: [] });
    assert.doesNotMatch(none, /NaN|undefined|Infinity/);
    const single = { ...run, model: { ...run.model, blocks: 1 }, layers: run.layers.slice(0, 1) };
    assert.doesNotMatch(renderReport(single), /NaN|undefined|Infinity/);
  });
});
