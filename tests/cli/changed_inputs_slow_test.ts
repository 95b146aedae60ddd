/** Tests that `pare prune` neither continues an unfinished run with other inputs, nor works on a folder on which another process works. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { runPare, startPare, words } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const folder = temporaryFolder();
await writeSotuTexts(folder);
await Deno.writeTextFile(`${folder}/profile.json`, '[{ "match": "fc2", "sparsity": 0.25 }]');
await cp(OPT_SOTU, `${folder}/model`, { recursive: true });

function pruneArgs(out: string): string[] {
  const files = ["calibration", "text"].flatMap((option) => [
    `--${option}`,
    `${folder}/${option === "text" ? "evaluation" : option}.txt`,
  ]);
  const small = ["--samples", "4", "--seqlen", "64", "--windows", "1", "--backend", "cpu"];
  return words`prune ${folder}/model --out ${out} ${files} --profile ${folder}/profile.json ${small}`;
}

/** Starts a run, calls `use` when a layer is done, kills the process and waits for its end. */
async function withStartedRun(out: string, use: () => Promise<void>): Promise<void> {
  const child = startPare(...pruneArgs(out));
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let printed = "";
  while (!printed.includes("pruning 1/")) {
    const { value, done } = await reader.read();
    assert.ok(!done, printed);
    printed += value;
  }
  Deno.kill(child.pid, "SIGSTOP");
  await use();
  Deno.kill(child.pid, "SIGKILL");
  await Promise.all([reader.cancel(), child.stdout.cancel(), child.status]);
}

describe("pare prune", { skip: Deno.build.os === "windows" && "Windows has no SIGSTOP" }, () => {
  const out = () => `${folder}/out`;

  it("refuses a folder on which another process works, with the code for another attempt", () =>
    withStartedRun(out(), async () => {
      const { code, stderr } = await runPare(...pruneArgs(out()));
      assert.equal(code, 4, stderr);
      assert.match(stderr, /error: .*\/out: another process is working on this folder\n$/);
    }));

  const CHANGES: Readonly<Record<string, RegExp>> = {
    "calibration.txt": /differs from this one: the calibration text/,
    "evaluation.txt": /differs from this one: --text/,
    "profile.json": /differs from this one: --profile/,
    "model/config.json": /differs from this one: model configuration/,
    "model/tokenizer.json": /differs from this one: [^;]*tokenizer/,
  };
  for (const [name, difference] of Object.entries(CHANGES)) {
    it(`does not continue after ${name} was changed, and names the difference`, async () => {
      const path = `${folder}/${name}`, original = await Deno.readTextFile(path);
      const changed = name.endsWith("config.json") ? original.replace("{", '{ "note": 1, ') : `${original} `;
      await Deno.writeTextFile(path, changed);
      const { code, stderr } = await runPare(...pruneArgs(out()));
      await Deno.writeTextFile(path, original);
      assert.equal(code, 2, stderr);
      assert.match(stderr, difference);
    });
  }

  it("does not continue after a weight file was changed", async () => {
    const path = `${folder}/model/model.safetensors`, original = await Deno.readFile(path);
    await Deno.writeFile(path, original.with(original.length - 1, original.at(-1)! ^ 1));
    const { code, stderr } = await runPare(...pruneArgs(out()));
    assert.equal(code, 2, stderr);
    assert.match(stderr, /differs from this one: [^;]*model\.safetensors/);
    await Deno.writeFile(path, original);
  });
});
