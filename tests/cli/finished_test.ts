/** Tests `pare prune` when the run in its output folder is finished already. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import type { RunReport } from "../../src/prune/report/run_report.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { runPare, succeeded } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const folder = temporaryFolder();
const out = `${folder}/finished`;
const text = (await writeSotuTexts(folder)).calibration;
await succeeded(prune());

function prune(...options: readonly string[]) {
  const windows = ["--method", "magnitude", "--samples", "2", "--seqlen", "32", "--backend", "cpu"];
  return runPare("prune", OPT_SOTU, "--out", out, "--calibration", text, ...windows, ...options);
}

async function report(): Promise<RunReport> {
  return JSON.parse(await Deno.readTextFile(`${out}/pare.json`));
}

/** The time of the last change of the weights. */
function modified(): number {
  return Deno.statSync(`${out}/model.safetensors`).mtime!.getTime();
}

describe("pare prune after a finished run", () => {
  it("says so, prints the result of the run again, exits with 0 and writes nothing", async () => {
    const before = modified(), { seconds } = await report();
    const again = await succeeded(prune("--json"));
    assert.equal(again.stderr, `${out}: this run is finished already; add --overwrite to prune again\n`);
    const result = JSON.parse(again.stdout);
    assert.deepEqual([result.already_finished, result.out, result.seconds], [true, out, seconds]);
    assert.equal(modified(), before);
  });

  it("needs no server, because no layer is left to solve", async () => {
    await succeeded(prune("--server", "http://127.0.0.1:1"));
  });

  it("names what differs with other settings, and says that --overwrite helps", async () => {
    const { code, stdout, stderr } = await prune("--sparsity", "0.7");
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(
      stderr,
      /finished: holds a finished run that differs from this one: --sparsity was absent and is 0\.7\. /,
    );
    assert.match(stderr, /Add --overwrite to replace it, or write to another folder\n$/);
  });

  it("does not start over with --restart, which is for unfinished runs", async () => {
    const before = modified();
    assert.equal((await prune("--restart")).code, 0);
    assert.equal(modified(), before);
  });

  it("refuses a folder whose weights are damaged", async () => {
    const path = `${out}/model.safetensors`, weights = await Deno.readFile(path);
    await Deno.writeFile(path, weights.subarray(0, weights.length - 1));
    const { code, stderr } = await prune();
    assert.equal(code, 2);
    assert.match(stderr, /finished run that is damaged: .*model\.safetensors: .*Add --overwrite/);
    await Deno.writeFile(path, weights);
  });

  it("does not take the folder of another command for its own run", async () => {
    const copy = `${folder}/copy`;
    await Deno.mkdir(copy);
    for (const name of ["config.json", "model.safetensors"]) {
      await Deno.copyFile(`${out}/${name}`, `${copy}/${name}`);
    }
    const { fingerprint: _, ...other } = JSON.parse(await Deno.readTextFile(`${out}/pare.json`)); // as `pare unpack` writes it
    await Deno.writeTextFile(`${copy}/pare.json`, JSON.stringify(other));
    const { code, stderr } = await prune("--out", copy);
    assert.equal(code, 2);
    assert.match(stderr, /copy: is not empty, and has no run of this command/);
  });

  it("refuses the model itself as output folder", async () => {
    const { code, stderr } = await runPare("prune", out, "--out", out, "--calibration", text);
    assert.equal(code, 2);
    assert.match(stderr, /^error: option --out .*finished: is the model itself/);
  });

  it("prunes again with --overwrite", async () => {
    const { finished } = await report();
    await succeeded(prune("--overwrite", "--sparsity", "0.7"));
    const now = await report();
    assert.notEqual(now.finished, finished);
    assert.equal(now.parameters.sparsity, 0.7);
  });
});
