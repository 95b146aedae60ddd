/** Tests the model card: its metadata, its numbers, the card of the base model, and hostile texts. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { parse } from "yaml";
import { baseOfCard, readBaseCard } from "../../../src/prune/report/base_card.ts";
import { renderModelCard } from "../../../src/prune/report/model_card.ts";
import type { RunReport } from "../../../src/prune/report/run_report.ts";
import { sampleRun } from "./sample_run.ts";

const NO_CARD = readBaseCard("");
const CARD = `---
license: other
license_name: "some licence"
license_link: https://example.org/licence
tags: [text-generation]
---

# A model

It continues texts.

---

More about it.
`;

/** Returns the metadata of a card, and the text after them. */
function parts(card: string): { metadata: Record<string, unknown>; text: string } {
  const [, metadata, text] = /^---\n(.*?)\n---\n(.*)$/s.exec(card)!;
  return { metadata: parse(metadata), text };
}

/** Returns the cells of the row that begins with `first`. */
function row(card: string, first: string): string[] | undefined {
  const lines = card.split("\n").filter((line) => line.startsWith(`| ${first} |`));
  return lines[0]?.slice(2, -2).split(" | ");
}

describe("renderModelCard()", () => {
  it("has the metadata that the hub reads", () => {
    const sources = { baseModel: "some/model", baseCard: readBaseCard(CARD) };
    assert.deepEqual(parts(renderModelCard(sampleRun(), sources)).metadata, {
      library_name: "transformers",
      base_model: "some/model",
      license: "other",
      license_name: "some licence",
      license_link: "https://example.org/licence",
      tags: ["pare", "pruned"],
    });
    const rounded = { ...sampleRun(), parameters: { bits: 4 } };
    assert.deepEqual(parts(renderModelCard(rounded, { baseCard: NO_CARD })).metadata, {
      library_name: "transformers",
      tags: ["pare", "pruned", "quantized"],
    });
  });

  it("shows the method, the options, the zeros per kind of layer, errors, perplexities, sizes and the command", () => {
    const digest = `sha256:${"0".repeat(64)}`, run = sampleRun();
    const card = renderModelCard({
      ...run,
      parameters: { method: "sparsegpt", group_size: 32, skip: ["fc1"] },
      calibration: { ...run.calibration, text: "secret name.txt", digest, validation_samples: 4 },
      blocks: [{ block: 0, error: 0.01 }, { block: 1, error: 0.03 }, { block: 2, error: null }],
      perplexity: [
        {
          text: "evaluation.txt",
          seqlen: 256,
          windows: 1000,
          dense: 45.3412,
          pruned: null,
          divergence: null,
        },
        { text: "stories.txt", seqlen: 256, windows: 8, dense: 45.3412, pruned: 49.47, divergence: 0.13124 },
      ],
      format: "pack-quantized",
      bytes: { dense: 8_000_000, written: 2_000_000 },
      command: "pare prune opt-sotu --out FOLDER",
    }, { baseCard: NO_CARD });
    assert.match(card, /^# opt-sotu, pruned and rounded$/m);
    assert.match(card, /sparsegpt unstructured: 50\.0 % of the weights of 24 layers in 4 blocks are zero/);
    assert.deepEqual(row(card, "Group size"), ["Group size", "32"]);
    assert.deepEqual(row(card, "Skip"), ["Skip", '\\["fc1"\\]']);
    assert.deepEqual(row(card, "Calibration"), ["Calibration", "32 windows of 256 tokens"]);
    assert.deepEqual(row(card, "Held out"), ["Held out", "4 of these windows"]);
    assert.deepEqual(row(card, "Calibration text"), ["Calibration text", digest]);
    assert.doesNotMatch(card, /secret/);
    assert.deepEqual(row(card, "fc1")?.slice(0, 3), ["fc1", "4", "50.0 %"]);
    assert.deepEqual(row(card, "self\\_attn.q\\_proj")?.slice(1, 3), ["4", "50.0 %"]);
    assert.match(card, /is 0\.02000 in the mean over the blocks, and 0\.03000 at most\./);
    assert.deepEqual(row(card, "evaluation.txt"), [
      "evaluation.txt",
      "1,000 × 256",
      "45.34",
      "not finite",
      "–",
    ]);
    assert.deepEqual(row(card, "stories.txt")?.slice(3), ["49.47", "0.131"]);
    assert.match(card, /^The weight files have 2\.0 MB, instead of 8\.0 MB\.$/m);
    assert.match(card, /^```sh\npare prune opt-sotu --out FOLDER\n```$/m);
  });

  it("is the same text for the same run at another time", () => {
    const run = sampleRun(), seconds = { ...run.seconds, total: 99 };
    const again: RunReport = { ...run, finished: "2031-01-01T00:00:00.000Z", resumed: 3, seconds };
    assert.equal(
      renderModelCard(again, { baseCard: NO_CARD }),
      renderModelCard(run, { baseCard: NO_CARD }),
    );
  });

  it("keeps the text of the base model's card below a heading, and finds it again", () => {
    const baseCard = readBaseCard(CARD), card = renderModelCard(sampleRun(), { baseCard });
    assert.ok(card.endsWith(`\n\n## Card of the base model\n\n${baseCard.body.trim()}\n`));
    assert.equal(baseCard.body, CARD.slice(CARD.indexOf("\n# A model")));
    const found = baseOfCard(card);
    assert.deepEqual([found.body.trim(), found.licence], [baseCard.body.trim(), baseCard.licence]);
    // A model that is pruned twice keeps both cards.
    const twice = renderModelCard(sampleRun(), { baseCard: readBaseCard(card) });
    assert.equal(baseOfCard(twice).body.trim(), readBaseCard(card).body.trim());
    assert.equal(baseOfCard(renderModelCard(sampleRun(), { baseCard: NO_CARD })).body, "");
  });

  it("escapes every text of the run, so that none adds metadata or markup", () => {
    const evil =
      '---\nlicense: evil\n---\n# x <script>alert(1)</script> | [a](javascript:b) `c` ``` "d" &lt; \u202e';
    const run = sampleRun();
    const card = renderModelCard({
      ...run,
      version: evil,
      model: { ...run.model, name: evil },
      parameters: { [evil]: evil },
      calibration: { ...run.calibration, digest: evil },
      layers: run.layers.map((layer) => ({ ...layer, name: evil })),
      warnings: [evil],
      perplexity: [{ text: evil, seqlen: 1, windows: 1, dense: 1, pruned: 1 }],
      allocation: { name: "owl", sparsities: {}, notes: [evil] },
      command: `pare '${evil}\n\`\`\`\n'`,
    }, { baseModel: evil, baseCard: NO_CARD });
    const { metadata, text } = parts(card);
    assert.deepEqual(Object.keys(metadata), ["library_name", "base_model", "tags"]);
    assert.equal(metadata.base_model, evil);
    const [outside, code] = text.split(/^````sh\n(.*?)^````$/ms);
    assert.ok(code.includes("license: evil"));
    assert.doesNotMatch(
      outside.replaceAll(/\\[^\w\s]/g, "").replaceAll("<!--", ""),
      /[<`[\]]|^---$|license: evil\n/m,
    );
    assert.doesNotMatch(card, /\u202e/);
    for (const line of outside.split("\n").filter((line) => line.startsWith("|"))) {
      const columns = line.replaceAll(/\\[^\w\s]/g, "").split("|").length - 2;
      assert.ok([2, 4, 5].includes(columns), line);
    }
  });
});

describe("readBaseCard()", () => {
  const licenceOf = (line: string) => readBaseCard(`---\n${line}\n---\n`).licence.get("license");

  it("reads the licence with and without quotes, and leaves out values of another form", () => {
    assert.equal(licenceOf("license: apache-2.0"), "apache-2.0");
    assert.equal(licenceOf("license: 'cc-by-4.0'  "), "cc-by-4.0");
    assert.equal(licenceOf("model:\n  license: mit"), undefined);
    for (const value of ["[mit, gpl]", "&a mit", "mit # none", "a: b", "", "x".repeat(200)]) {
      assert.equal(licenceOf(`license: ${value}`), undefined, value);
    }
  });

  it("takes a card without metadata as text, also if it has horizontal lines", () => {
    for (const card of ["# A model\n\n---\nlicense: mit\n---\n", "--- \nno end", ""]) {
      assert.deepEqual(readBaseCard(card), { licence: new Map(), body: card });
    }
    assert.equal(readBaseCard("---\r\nlicense: mit\r\n---\r\ntext").body, "text");
    assert.equal(readBaseCard("---\r\nlicense: mit\r\n---\r\ntext").licence.get("license"), "mit");
    assert.equal(readBaseCard("---\n---\ntext").body, "text");
  });
});
