/** Tests `pare report`, with the stored `pare.json` of a real run. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { renderReport } from "../../src/prune/report/render.tsx";
import { sampleRun } from "../prune/report/sample_run.ts";
import { pareJson, runPare } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const folder = temporaryFolder();
await Deno.writeTextFile(`${folder}/pare.json`, JSON.stringify(sampleRun()));

describe("pare report", () => {
  it("writes the page that pare prune writes, beside pare.json", async () => {
    const { code, stdout, stderr } = await runPare("report", folder);
    assert.deepEqual([code, stdout, stderr], [0, `wrote ${folder}/report.html\n`, ""]);
    assert.equal(await Deno.readTextFile(`${folder}/report.html`), renderReport(sampleRun()));
  });

  it("writes the page to --out", async () => {
    const out = `${folder}/page.html`;
    assert.deepEqual(await pareJson("report", folder, "--out", out), { layers: 24, out });
    assert.equal(await Deno.readTextFile(out), renderReport(sampleRun()));
  });

  it("draws the page of 200,000 layers", async () => {
    const run = sampleRun(), [layer] = run.layers, large = `${folder}/large`;
    const layers = Array.from(
      { length: 200_000 },
      (_, i) => ({ ...layer, name: `model.layers.0.layer${i}.weight` }),
    );
    await Deno.mkdir(large);
    await Deno.writeTextFile(`${large}/pare.json`, JSON.stringify({ ...run, layers }));
    assert.deepEqual(await pareJson("report", large), { layers: 200_000, out: `${large}/report.html` });
    assert.match(await Deno.readTextFile(`${large}/report.html`), /of 200,000 layers in 4 blocks are zero/);
  });

  it("refuses a folder without pare.json", async () => {
    await Deno.mkdir(`${folder}/nowhere`);
    const { code, stderr } = await runPare("report", `${folder}/nowhere`);
    assert.deepEqual([code, stderr], [3, `error: ${folder}/nowhere: has no pare.json\n`]);
  });

  it("refuses a malformed pare.json by the name of the member", async () => {
    const malformed = `${folder}/malformed`;
    await Deno.mkdir(malformed);
    await Deno.writeTextFile(`${malformed}/pare.json`, JSON.stringify({ ...sampleRun(), layers: 3 }));
    const { code, stderr } = await runPare("report", malformed);
    assert.equal(code, 3);
    assert.match(stderr, /pare\.json: [\s\S]*layers/);
  });
});
