/** Tests that the command line in a report repeats the run. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { dirname } from "node:path";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { runPare, succeeded, words } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const PROFILE = [{ match: "*.0.fc2", sparsity: 0.25 }];

const folder = temporaryFolder();
await writeSotuTexts(folder);
await Deno.writeTextFile(`${folder}/my profile.json`, JSON.stringify(PROFILE));

/** Runs a command line with the places of its model and its files, as a user would complete it, and returns the command in the report. */
async function prune(out: string, options: readonly string[]): Promise<string> {
  const placed = options.map((word, i) =>
    ["--calibration", "--text", "--profile"].includes(options[i - 1]) ? `${folder}/${word}` : word
  );
  await succeeded(runPare("prune", OPT_SOTU, "--out", out, "--backend", "cpu", ...placed));
  return JSON.parse(await Deno.readTextFile(`${out}/pare.json`)).command;
}

/** Splits a command line as a shell does. */
async function shellWords(command: string): Promise<string[]> {
  const { stdout } = await new Deno.Command("sh", { args: ["-c", `printf '%s\\n' ${command}`] }).output();
  return new TextDecoder().decode(stdout).trimEnd().split("\n");
}

const RUNS: readonly (readonly string[])[] = [
  [],
  words`--method sparsegpt --pattern 2:4 --blocksize 64 --seed 7 --max-layer 1`,
  words`--method magnitude --sparsity 0.3 --layers fc1,fc2 --layers /k_(proj|x{1,2})/ --skip *.0.*`,
  words`--bits 4 --group-size 48 --symmetric --format pack-quantized --refit 2 --max-layer 1`,
  words`--allocate owl --profile ${"my profile.json"} --method wanda --text evaluation.txt --windows 2 --max-layer 1`,
  words`--for gptq --bits 8 --method sparsegpt`,
  ["--true-sequential", "--effort", "fast", "--max-layer", "1", "--reconstruct", "1"],
  words`--calibration evaluation.txt=0.5 --samples 8 --validation 0.25 --method sparsegpt --max-layer 1`,
];

describe("the command in a report", {
  skip: Deno.build.os === "windows" && "it is quoted for the shells of Unix",
}, () => {
  for (const [i, options] of RUNS.entries()) {
    it(`repeats the run of pare prune ${options.join(" ")}`, async () => {
      const windows = ["--calibration", "calibration.txt", "--samples", "2", "--seqlen", "32"];
      const command = await prune(`${folder}/first${i}`, [...windows, ...options]);
      const [pare, verb, model, out, place, ...repeated] = await shellWords(command);
      assert.deepEqual([pare, verb, model, out, place], ["pare", "prune", "opt-sotu", "--out", "FOLDER"]);
      assert.equal(await prune(`${folder}/second${i}`, repeated), command);
      const [first, second] = await Promise.all(
        ["first", "second"].map((name) => Deno.readFile(`${folder}/${name}${i}/model.safetensors`)),
      );
      assert.deepEqual(second, first);
    });
  }

  it("names no folder of the user", async () => {
    const command = JSON.parse(await Deno.readTextFile(`${folder}/first0/pare.json`)).command;
    assert.ok(!command.includes(dirname(OPT_SOTU)) && !command.includes(folder), command);
  });
});
