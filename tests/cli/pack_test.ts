/**
 * Tests `pare pack` and `pare unpack` as processes. The model is a fixture in which half of the weights of
 * the linear layers are set to zero.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { lockFolder } from "../../src/files/folder_lock.ts";
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

/** Returns the sorted names of everything in a folder. */
async function filesIn(path: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(path), ({ name }) => name)).sort();
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

  it("says that another process works on the output folder, and leaves no lock behind", async () => {
    const out = `${folder}/twice`, args = ["pack", `${folder}/pruned`, "--out", out];
    {
      await using _lock = await lockFolder(denoFileSystem, out);
      for (const words of [args, [...args, "--overwrite"], ["unpack", `${folder}/bitmask`, "--out", out]]) {
        const { code, stderr } = await runPare(...words);
        assert.deepEqual([code, stderr], [4, `error: ${out}: another process is working on this folder\n`]);
      }
    }
    await pareJson(...args);
    assert.deepEqual(await filesIn(out), ["config.json", "model.safetensors", "pare.json", "report.html"]);
    assert.match(
      (await runPare(...args)).stderr,
      /twice: is not empty; choose another folder, or add --overwrite/,
    );
  });

  it("gives nobody more rights to the copy of a weight file", async () => {
    await Deno.mkdir(`${folder}/private`);
    for (const name of await filesIn(`${folder}/pruned`)) {
      await Deno.copyFile(`${folder}/pruned/${name}`, `${folder}/private/${name}`);
      await Deno.chmod(`${folder}/private/${name}`, 0o400);
    }
    await pareJson("pack", `${folder}/private`, "--out", `${folder}/private-packed`);
    await pareJson("unpack", `${folder}/private-packed`, "--out", `${folder}/private-dense`);
    for (const out of ["private-packed", "private-dense"]) {
      for (const name of await filesIn(`${folder}/${out}`)) {
        assert.equal((await Deno.stat(`${folder}/${out}/${name}`)).mode! & 0o777, 0o600, `${out}/${name}`);
      }
    }
  });

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
