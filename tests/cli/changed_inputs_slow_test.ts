/** Tests that `pare prune` neither continues an unfinished run with other inputs, nor works on a folder on which another process works. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { actDuring, runPare, startPare, words } from "./run_pare.ts";
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

/** Starts a run, calls `use` when a layer is done, and kills the process. */
async function withStartedRun(out: string, use: () => Promise<void>): Promise<void> {
  const child = startPare(...pruneArgs(out));
  const { signal, stderr } = await actDuring(child, (printed) => printed.includes("pruning 1/"), async () => {
    child.kill("SIGSTOP");
    await use();
    child.kill("SIGKILL");
  });
  assert.equal(signal, "SIGKILL", stderr);
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
    "model/model.safetensors": /differs from this one: [^;]*model\.safetensors/,
  };
  for (const [name, difference] of Object.entries(CHANGES)) {
    it(`does not continue after ${name} was changed, and names the difference`, async () => {
      const path = `${folder}/${name}`, original = await Deno.readFile(path);
      if (name.endsWith("config.json")) {
        await Deno.writeTextFile(path, new TextDecoder().decode(original).replace("{", '{ "note": 1, '));
      } else if (name.endsWith(".safetensors")) {
        await Deno.writeFile(path, original.with(original.length - 1, original.at(-1)! ^ 1));
      } else await Deno.writeTextFile(path, " ", { append: true });
      const { code, stderr } = await runPare(...pruneArgs(out()));
      await Deno.writeFile(path, original);
      assert.equal(code, 2, stderr);
      assert.match(stderr, difference);
    });
  }
});
