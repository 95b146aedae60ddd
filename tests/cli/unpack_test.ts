/** Tests `pare unpack`. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { lockFolder } from "../../src/base/files/whole_file.ts";
import { BASE_HEADING, END_OF_CARD } from "../../src/prune/report/base_card.ts";
import { bytesText } from "../../src/prune/report/format.ts";
import { writeFiles } from "../support/checkpoint_files.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { writeQuantizedModel } from "../support/quantized_checkpoints.ts";
import { pareJson, runPare } from "./run_pare.ts";
import { listNames, temporaryFolder } from "../support/temporary_folder.ts";

const RUN = new URL("../prune/report/opt_sotu_run.json", import.meta.url);
const FILES = ["config.json", "model.safetensors", "pare.json"];

const folder = temporaryFolder();
const grid = { bits: 4, groupSize: 0, symmetric: true };
const model = await writeQuantizedModel(OPT_SOTU, `${folder}/opt`, () => grid);
const quantized = `${folder}/quantized`;
await Deno.mkdir(quantized);
for (const name of FILES.slice(0, 2)) {
  await Deno.copyFile(`${model.quantized}/${name}`, `${quantized}/${name}`);
}
await Deno.copyFile(RUN, `${quantized}/pare.json`);

describe("pare unpack", () => {
  it("updates the report of the run, and refuses to replace its result", async () => {
    const out = `${folder}/dense`;
    const { bytes } = await pareJson<{ bytes: { written: number } }>("unpack", quantized, "--out", out);
    assert.deepEqual(listNames(out), ["README.md", ...FILES, "report.html"]);
    const run = JSON.parse(await Deno.readTextFile(`${out}/pare.json`));
    assert.deepEqual([run.format, run.bytes.written, run.fingerprint], ["dense", bytes.written, undefined]);
    assert.equal(bytes.written, (await Deno.stat(`${out}/model.safetensors`)).size);
    const { stderr } = await runPare("unpack", quantized, "--out", out);
    assert.match(stderr, /dense: is not empty; choose another folder, or add --overwrite/);
  });

  it("says that another process works on the output folder, and leaves no lock behind", async () => {
    const out = `${folder}/twice`, args = ["unpack", quantized, "--out", out];
    {
      await using _lock = await lockFolder(denoFileSystem, out);
      for (const words of [args, [...args, "--overwrite"]]) {
        const { code, stderr } = await runPare(...words);
        assert.deepEqual([code, stderr], [4, `error: ${out}: another process is working on this folder\n`]);
      }
    }
    await pareJson(...args);
    assert.deepEqual(listNames(out), ["README.md", ...FILES, "report.html"]);
  });

  it("describes the dense files in the model card, and keeps the card of the base model", async () => {
    const packed = `${folder}/carded`, out = `${folder}/carded-dense`;
    await Deno.mkdir(packed);
    for (const name of FILES) await Deno.copyFile(`${quantized}/${name}`, `${packed}/${name}`);
    const old = `---\nlicense: mit\n---\n\nPacked.\n\n${END_OF_CARD}\n\n${BASE_HEADING}\n\nA model.\n`;
    await Deno.writeTextFile(`${packed}/README.md`, old);
    const { bytes } = await pareJson<{ bytes: { written: number } }>("unpack", packed, "--out", out);
    const card = await Deno.readTextFile(`${out}/README.md`);
    assert.match(card, /^---\nlibrary_name: "transformers"\nlicense: "mit"\n/);
    assert.ok(card.includes(`\nThe weight files have ${bytesText(bytes.written)}, `), card);
    assert.ok(card.endsWith(`\n\n${BASE_HEADING}\n\nA model.\n`) && !card.includes("Packed."), card);
  });

  it("lets only the owner read the copy of a weight file that only the owner can read", async () => {
    await Deno.mkdir(`${folder}/private`);
    for (const name of FILES) {
      await Deno.copyFile(`${quantized}/${name}`, `${folder}/private/${name}`);
      await Deno.chmod(`${folder}/private/${name}`, 0o400);
    }
    const out = `${folder}/private-dense`;
    await pareJson("unpack", `${folder}/private`, "--out", out);
    for (const name of listNames(out)) {
      assert.equal((await Deno.stat(`${out}/${name}`)).mode! & 0o777, 0o600, name);
    }
  });
});

it("a sparse checkpoint is refused by every command that opens it, with its format and a way out", async () => {
  const sparse = `${folder}/sparse`, sparsity_config = { format: "sparse-bitmask" };
  await Deno.mkdir(sparse);
  for (const name of FILES.slice(0, 2)) await Deno.copyFile(`${OPT_SOTU}/${name}`, `${sparse}/${name}`);
  const config = JSON.parse(await Deno.readTextFile(`${OPT_SOTU}/config.json`));
  const quantization_config = { quant_method: "compressed-tensors", sparsity_config };
  await Deno.writeTextFile(`${sparse}/config.json`, JSON.stringify({ ...config, quantization_config }));
  const text = `${OPT_SOTU}/config.json`, out = ["--out", `${folder}/none`];
  for (
    const [command, ...options] of [
      ["eval", "--text", text],
      ["verify"],
      ["unpack", ...out],
      ["prune", "--calibration", text, ...out],
    ]
  ) {
    const { code, stderr } = await runPare(command, sparse, ...options);
    assert.equal(code, 3, stderr);
    assert.match(
      stderr,
      /sparse: stores its weights in the sparse format "sparse-bitmask", .*; decompress them/,
    );
  }
});

it("codes in a checkpoint that names no format are refused, and neither verified nor written as weights", async () => {
  const codes = `${folder}/codes`, out = `${folder}/no-codes`;
  await Deno.mkdir(codes);
  const data = new Uint8Array(8).fill(0x7f); // NaN
  await writeFiles(codes, {
    "config.json": {},
    "model.safetensors": { "x.weight": { dtype: "F8_E4M3", shape: [2, 4], data } },
  });
  for (const args of [["verify", codes], ["unpack", codes, "--out", out]]) {
    const { code, stdout, stderr } = await runPare(...args);
    assert.deepEqual([code, stdout], [3, ""], stderr);
    assert.match(
      stderr,
      /x\.weight has codes of the dtype F8_E4M3, but config\.json does not name their format/,
    );
  }
  assert.throws(() => Deno.statSync(out), Deno.errors.NotFound);
});
