/**
 * Tests `pare pack` and `pare unpack` as processes. The model is a fixture in which half of the weights of
 * the linear layers are set to zero.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decode } from "../../src/safetensors/decode.ts";
import { encode } from "../../src/safetensors/encode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { uniform } from "../support/random.ts";
import { pareJson, runPare } from "./run_pare.ts";

interface PackResult {
  readonly packed: readonly string[];
  readonly bytes: { readonly dense: number; readonly written: number };
}

const RUN = new URL("../report/opt_sotu_run.json", import.meta.url);

let folder: string;
before(async () => {
  folder = await Deno.makeTempDir({ prefix: "pare-test-" });
  await Deno.mkdir(`${folder}/pruned`);
  const { header, tensors } = decode(await Deno.readFile(`${OPT_SOTU}/model.safetensors`));
  const pruned = [...tensors].map((
    [name, tensor],
  ): [string, HostTensor] => [name, pruneTwoOfFour(name, tensor)]);
  await Deno.writeFile(`${folder}/pruned/model.safetensors`, encode(new Map(pruned), header.metadata));
  await Deno.copyFile(`${OPT_SOTU}/config.json`, `${folder}/pruned/config.json`);
  await Deno.copyFile(RUN, `${folder}/pruned/pare.json`);
});
after(() => Deno.remove(folder, { recursive: true }));

/** Sets two of every four weights of a linear layer to zero. Other tensors are returned unchanged. */
function pruneTwoOfFour(name: string, tensor: HostTensor): HostTensor {
  if (!/layers\.\d+\.(self_attn\.\w+_proj|fc\d)\.weight/.test(name)) return tensor;
  const next = uniform(name.length);
  const words = new Uint16Array(tensor.data.slice().buffer);
  for (let group = 0; group < words.length; group += 4) {
    const keptIndex = Math.floor(next() * 4);
    words[group + (keptIndex + 1) % 4] = words[group + (keptIndex + 2) % 4] = 0;
  }
  return { ...tensor, data: new Uint8Array(words.buffer) };
}

describe("pare pack, then unpack", () => {
  for (const format of ["bitmask", "sparse-24"]) {
    it(`writes a smaller checkpoint as ${format}, updates its report, and restores every byte`, async () => {
      const packed = `${folder}/${format}`, dense = `${folder}/${format}-dense`;
      const { packed: names, bytes } = await pareJson<PackResult>(
        ...["pack", `${folder}/pruned`, "--out", packed, "--format", format],
      );
      assert.equal(names.length, 24);
      assert.equal(bytes.written, Deno.statSync(`${packed}/model.safetensors`).size);
      assert.ok(bytes.written < 0.75 * bytes.dense, JSON.stringify(bytes));
      const run = JSON.parse(await Deno.readTextFile(`${packed}/pare.json`));
      assert.deepEqual([run.format, run.bytes.written], [format, bytes.written]);
      assert.match(
        await Deno.readTextFile(`${packed}/report.html`),
        new RegExp(`>${format} format: [0-9.]+ % less than the `),
      );
      await pareJson("unpack", packed, "--out", dense);
      const [before, after] = await Promise.all(
        [`${folder}/pruned`, dense].map(async (from) =>
          decode(await Deno.readFile(`${from}/model.safetensors`)).tensors
        ),
      );
      assert.deepEqual([...after.keys()].sort(), [...before.keys()].sort());
      for (const [name, tensor] of before) assert.deepEqual(after.get(name), tensor, name);
      assert.equal(JSON.parse(await Deno.readTextFile(`${dense}/pare.json`)).format, "dense");
    });
  }

  it("prints how much smaller the packed checkpoint is, and who can read it", async () => {
    const { stdout } = await runPare("pack", `${folder}/pruned`, "--out", `${folder}/lines`);
    assert.match(
      stdout,
      /^packed 24 weights: 4\.6 MB became \d\.\d MB, \d\d\.\d % smaller\nsparse formats are read by Pare, and .* up to 0\.14 .*refuse.*\nwrote .*lines\n$/,
    );
  });

  it("must be run before eval: eval refuses a packed model and names `pare unpack` in the error", async () => {
    await runPare("pack", `${folder}/pruned`, "--out", `${folder}/refused`);
    const text = `${folder}/pruned/config.json`;
    const { code, stderr } = await runPare("eval", `${folder}/refused`, "--text", text);
    assert.equal(code, 3);
    assert.match(stderr, /^error: .*refused: config\.json has a quantization_config.*`pare unpack`/);
  });
});
