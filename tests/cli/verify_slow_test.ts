/** Tests `pare verify`, on dense and packed folders, with and without the report of a run. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { assertSame } from "../support/assert_same.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { pareJson, runPare, words } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

interface VerifyResult {
  readonly format: string;
  readonly ok: boolean;
  readonly tensors: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly entries: number;
    readonly zeros: number;
    readonly pattern: string | null;
    readonly violations: number | null;
    readonly non_finite: number;
  }[];
  readonly faults: readonly { readonly tensor: string; readonly problem: string }[];
}

const FC1 = "model.decoder.layers.0.fc1.weight";

const folder = temporaryFolder();
const text = (await writeSotuTexts(folder)).calibration;
await prune("dense", "--pattern", "2:4");

async function prune(name: string, ...options: readonly string[]): Promise<void> {
  const windows = ["--method", "magnitude", "--samples", "2", "--seqlen", "32", "--backend", "cpu"];
  await pareJson(
    ...words`prune ${OPT_SOTU} --out ${folder}/${name} --calibration ${text} ${windows} ${options}`,
  );
}

/** Copies the folder `dense` and changes the F16 words of one tensor. */
async function damaged(name: string, tensor: string, change: (words: Uint16Array) => void): Promise<string> {
  const copy = `${folder}/${name}`;
  await Deno.mkdir(copy);
  for (const file of ["config.json", "pare.json"]) {
    await Deno.copyFile(`${folder}/dense/${file}`, `${copy}/${file}`);
  }
  const { tensors, header } = decode(await Deno.readFile(`${folder}/dense/model.safetensors`));
  const { data, ...info } = tensors.get(tensor)!, words = new Uint16Array(data.slice().buffer);
  change(words);
  tensors.set(tensor, { ...info, data: new Uint8Array(words.buffer) });
  await Deno.writeFile(`${copy}/model.safetensors`, encode(tensors, header.metadata));
  return copy;
}

/** Runs `pare verify ARGS --json`, which must find something. */
async function faults(...args: readonly string[]): Promise<VerifyResult["faults"]> {
  const { code, stdout, stderr } = await runPare("verify", ...args, "--json");
  assert.equal(code, 3, stderr);
  const result: VerifyResult = JSON.parse(stdout);
  assert.equal(result.ok, false);
  assert.ok(
    stderr.includes(`error: ${args[0]}: ${result.faults[0].tensor} ${result.faults[0].problem}`),
    stderr,
  );
  return result.faults;
}

describe("pare verify", () => {
  it("counts the zeros of every tensor, and checks the layers for the pattern of their report", async () => {
    const { ok, format, tensors } = await pareJson<VerifyResult>("verify", `${folder}/dense`);
    assert.deepEqual([ok, format], [true, "dense"]);
    const { tensors: stored } = decode(await Deno.readFile(`${folder}/dense/model.safetensors`));
    assert.deepEqual(tensors.map(({ name }) => name).sort(), [...stored.keys()].sort());
    for (const { name, shape, entries, zeros, non_finite } of tensors) {
      const words = new Uint16Array(stored.get(name)!.data.slice().buffer);
      assert.deepEqual(shape, stored.get(name)!.shape);
      assert.equal(entries, words.length);
      assert.equal(zeros, words.filter((word) => (word & 0x7fff) === 0).length, name);
      assert.equal(non_finite, 0);
    }
    const checked = tensors.filter(({ pattern }) => pattern === "2:4");
    assert.deepEqual([checked.length, checked.every(({ violations }) => violations === 0)], [24, true]);
  });

  it("finds the same in quantised folders as in dense ones", async () => {
    await prune("four-bit", "--pattern", "2:4", "--bits", "4", "--format", "pack-quantized");
    await pareJson("unpack", `${folder}/four-bit`, "--out", `${folder}/four-bit-dense`);
    const byName = ({ tensors }: VerifyResult) => tensors.toSorted((a, b) => a.name < b.name ? -1 : 1);
    const [quantized, dense] = await Promise.all(
      ["four-bit", "four-bit-dense"].map((name) => pareJson<VerifyResult>("verify", `${folder}/${name}`)),
    );
    assertSame(byName(quantized), byName(dense));
    assert.deepEqual([quantized.format, dense.format], ["pack-quantized", "dense"]);
  });

  it("exits with 3 and names the tensor if a group breaks the pattern", async () => {
    const copy = await damaged("broken", FC1, (words) => words.fill(0x3c00, 192 + 4, 192 + 8));
    assert.deepEqual((await faults(copy))[0], {
      tensor: FC1,
      problem: "breaks 2:4 in 1 group, first in output 1 at input 4",
    });
    assert.deepEqual((await faults(`${folder}/dense`, "--pattern", "1:4")).length, 24);
  });

  it("exits with 3 if a tensor has fewer zeros than its report says, or values that are not finite", async () => {
    const denser = await damaged(
      "denser",
      FC1,
      (words) => words.forEach((word, i) => words[i] = word || (i % 4 === 0 ? 1 : 0)),
    );
    assert.match(
      (await faults(denser)).find(({ problem }) => /zeros/.test(problem))!.problem,
      /^has [\d,]+ zeros, but 73,728 by pare\.json$/,
    );
    const infinite = await damaged(
      "infinite",
      "model.decoder.layers.0.fc1.bias",
      (words) => words[7] = 0x7c00,
    );
    assert.deepEqual(await faults(infinite), [{
      tensor: "model.decoder.layers.0.fc1.bias",
      problem: "has 1 value that is NaN or infinite, first at [7]",
    }]);
  });

  it("checks the matrices in numbered blocks of a folder without a report, or those that --layers names", async () => {
    const result = await faults(OPT_SOTU, "--pattern", "2:4");
    assert.equal(result.length, 24);
    assert.ok(result.every(({ tensor }) => /\.layers\.\d+\./.test(tensor)));
    assert.equal((await faults(OPT_SOTU, "--pattern", "2:4", "--layers", "fc1,embed_tokens")).length, 5);
    assert.equal((await pareJson<VerifyResult>("verify", OPT_SOTU)).ok, true);
  });

  it("prints a table of the checked layers and the faults, and totals", async () => {
    const { code, stdout } = await runPare("verify", `${folder}/dense`);
    assert.equal(code, 0);
    assert.equal(stdout.match(/^│ model\./gm)?.length, 24);
    assert.equal((await runPare("verify", OPT_SOTU)).stdout.match(/^│ model\./gm)?.length, 26); // with both embeddings
    assert.match(
      stdout,
      /│ model\.decoder\.layers\.0\.fc1\.weight +│ F16 \[768, 192\] +│ 50\.0 % │ +2:4 │ +0 │ +0 │/,
    );
    assert.match(
      stdout,
      /\nthe 24 checked layers: 884,\d+ of 1,769,472 values are zero \(50\.0 %\)\n24 layers follow 2:4\nevery value is finite\n$/,
    );
  });

  it("refuses patterns that are not n:m, and layers that do not exist", async () => {
    for (
      const [options, message] of [
        [["--pattern", "unstructured"], /--pattern.*must be n:m, such as 2:4/],
        [["--pattern", "4:2"], /--pattern.*1 ≤ n < m/],
        [["--layers", "fc9"], /option --layers fc9: matches no matrix; an example is model/],
        [["--layers", "/(/"], /option --layers \/\(\/: /],
      ] as const
    ) {
      const { code, stderr } = await runPare("verify", `${folder}/dense`, ...options);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
    }
  });
});
