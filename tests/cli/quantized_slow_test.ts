/** Runs the commands eval, generate, unpack and prune with a quantised model, each in a process of its own. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { GeneratedText } from "../../src/cli/generate.ts";
import { sotuText } from "../../scripts/fixtures/sotu_text.ts";
import { assertSame } from "../support/assert_same.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { writeQuantizedModel } from "../support/quantized_checkpoints.ts";
import { pareJson, runPare, succeeded, words } from "./run_pare.ts";
import { readTensors } from "../support/checkpoint_files.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

interface Evaluation {
  readonly models: readonly { readonly texts: readonly { readonly perplexity: number }[] }[];
}

const folder = temporaryFolder();
const model = await writeQuantizedModel(OPT_SOTU, `${folder}/opt`, (name) => (
  name.includes("fc")
    ? { bits: 4, groupSize: 32, symmetric: false }
    : { bits: 8, groupSize: 0, symmetric: true }
));
await Deno.writeTextFile(`${folder}/text.txt`, (await sotuText("evaluation")).slice(0, 20_000));

describe("a quantised model", () => {
  it("has the perplexity of its dense copy", async () => {
    const { models } = await pareJson<Evaluation>(...words`
      eval ${model.quantized} --compare ${model.dense} --text ${folder}/text.txt --windows 2
      --backend cpu
    `);
    const [quantized, dense] = models.map(({ texts: [{ perplexity }] }) => perplexity);
    assert.ok(quantized > 1 && Number.isFinite(quantized), String(quantized));
    assert.equal(quantized, dense);
  });

  it("generates the text of its dense copy", async () => {
    const generate = async (path: string) => {
      const args = ["generate", path, "My fellow citizens", "--tokens", "20", "--backend", "cpu"];
      return (await pareJson<GeneratedText>(...args)).text;
    };
    assert.equal(await generate(model.quantized), await generate(model.dense));
  });

  it("is unpacked to its dense copy", async () => {
    const { unpacked, bytes } = await pareJson<{ unpacked: string[]; bytes: Record<string, number> }>(
      ...words`unpack ${model.quantized} --out ${folder}/unpacked`,
    );
    assert.equal(unpacked.length, 24);
    assert.ok(bytes.quantized < 0.6 * bytes.written, JSON.stringify(bytes));
    assertSame(await readTensors(`${folder}/unpacked`), await readTensors(model.dense));
  });

  it("is pruned to the tensors to which `pare prune` prunes its dense copy, and says once that it is dequantised", async () => {
    const prune = (source: string, out: string) =>
      runPare(...words`
        prune ${source} --out ${out} --calibration ${folder}/text.txt --samples 2 --seqlen 32
        --method wanda --backend cpu
      `);
    const outs = [`${folder}/pruned quantised`, `${folder}/pruned dense`];
    const { stderr } = await succeeded(prune(model.quantized, outs[0]));
    assert.equal(
      stderr.match(/quantized: its weights are in the format pack-quantized, and are dequantised/g)?.length,
      1,
    );
    await succeeded(prune(model.dense, outs[1]));
    assertSame(await readTensors(outs[0]), await readTensors(outs[1]));
    const configs = await Promise.all(outs.map((out) => Deno.readTextFile(`${out}/config.json`)));
    assert.deepEqual(JSON.parse(configs[0]), JSON.parse(configs[1]));
  });
});

describe("pare prune --format pack-quantized", () => {
  it("writes a 4-bit model in which half of the weights are pruned, and reports its size", async () => {
    const out = `${folder}/four`, profile = `${folder}/four.json`;
    await Deno.writeTextFile(profile, JSON.stringify([{ match: "*", bits: 4, group_size: 32 }]));
    await pareJson(...words`
      prune ${OPT_SOTU} --out ${out} --calibration ${folder}/text.txt --samples 2 --profile
      ${profile} --format pack-quantized --backend cpu
    `);
    const { quantization_config: config } = JSON.parse(await Deno.readTextFile(`${out}/config.json`));
    assert.deepEqual(config.ignore, ["lm_head"]);
    const { num_bits, group_size, strategy, symmetric } = config.config_groups.group_0.weights;
    assert.deepEqual([num_bits, group_size, strategy, symmetric], [4, 32, "group", false]);
    const report = JSON.parse(await Deno.readTextFile(`${out}/pare.json`));
    const { size } = await Deno.stat(`${out}/model.safetensors`);
    assert.deepEqual([report.format, report.bytes.written], ["pack-quantized", size]);
    assert.ok(size < 0.5 * report.bytes.dense, `${size} of ${report.bytes.dense} bytes`);
    await pareJson("unpack", out, "--out", `${out}-dense`);
    const tensors = await readTensors(`${out}-dense`);
    for (const { name, rows, cols, zeros } of report.layers) {
      const words = new Uint16Array(tensors[name].data.slice().buffer);
      // A kept entry may be rounded to zero, so there can be more zeros than pruned entries.
      const count = words.filter((word) => word === 0).length;
      assert.ok(count >= zeros && zeros === rows * cols / 2, `${name} has ${count} zeros, ${zeros} pruned`);
      assert.ok(count < 0.6 * rows * cols, `${name} has ${count} zeros`);
    }
  });

  it("prints the line by which transformers loads the result, also if a profile chooses the grids", async () => {
    const option = "quantization_config=CompressedTensorsConfig(dequantize=True)";
    const profile = `${folder}/asymmetric.json`;
    await Deno.writeTextFile(profile, '[{ "match": "*", "symmetric": false }]');
    for (
      const [out, bits, flags, needsOption, version] of [
        ["symmetric", "4", [], false, "0\\.15"],
        ["symmetric 3", "3", [], false, "0\\.18"],
        ["asymmetric", "4", ["--profile", profile], true, "0\\.15"],
      ] as const
    ) {
      const args = words`
        prune ${OPT_SOTU} --out ${`${folder}/${out}`} --calibration ${folder}/text.txt --samples 2
        --seqlen 32 --method magnitude --bits ${bits} --format pack-quantized --backend cpu ${flags}
      `;
      for (const _ of ["a new run", "a finished run"]) {
        const { stderr } = await runPare(...args);
        const [line] = /^load it in Python: .*$/m.exec(stderr) ?? [stderr];
        assert.match(
          stderr,
          new RegExp(`^install what the next line needs: pip install "compressed-tensors>=${version}"$`, "m"),
        );
        assert.equal(line.includes(option), needsOption, line);
      }
    }
  });
});
