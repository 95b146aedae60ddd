/** Tests that a checkpoint in any format of stored weights has the tensors of the dense checkpoint with the same values. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import type { Checkpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { openDense } from "../../../src/model/formats/checkpoint/dense_checkpoint.ts";
import { unpackCheckpoint } from "../../../src/model/formats/checkpoint/unpack_checkpoint.ts";
import { assertSame } from "../../support/assert_same.ts";
import { readTensors, withCheckpoint, writeFiles } from "../../support/checkpoint_files.ts";
import type { StoredCase } from "../../support/stored_case.ts";
import { DENSE_TENSORS, STORED_CASES } from "../../support/stored_cases.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

/** Writes the checkpoint of a case in two shards, and runs `body` with its folder. */
function withCase(
  { config, tensors }: Pick<StoredCase, "tensors"> & { readonly config: object },
  body: (folder: string) => Promise<void>,
): Promise<void> {
  return withTemporaryFolder(async (folder) => {
    const source = `${folder}/source`, [first, ...others] = Object.entries(tensors);
    const shards = [{ ...DENSE_TENSORS, [first[0]]: first[1] }, Object.fromEntries(others)];
    const weight_map = Object.fromEntries(
      shards.flatMap((shard, i) => Object.keys(shard).map((name) => [name, `${i}.safetensors`])),
    );
    await Deno.mkdir(source);
    await writeFiles(source, {
      "config.json": { rope_theta: 1, ...config },
      "model.safetensors.index.json": { weight_map },
      "0.safetensors": shards[0],
      "1.safetensors": shards[1],
      "quantize_config.json": {},
    });
    await body(source);
  });
}

function withDense(
  folder: string,
  body: (dense: Checkpoint, stored: Checkpoint) => Promise<void>,
): Promise<void> {
  return withCheckpoint(folder, async (stored) => await body(await openDense(stored), stored));
}

describe("openDense()", () => {
  for (const stored of STORED_CASES) {
    const wanted = { ...DENSE_TENSORS, ...stored.weights };
    it(`lists and computes the dense tensors: ${stored.title}`, () =>
      withCase(stored, (folder) =>
        withDense(folder, async (dense) => {
          assert.deepEqual([...dense.names()].toSorted(), Object.keys(wanted).toSorted());
          for (const [name, tensor] of Object.entries(wanted)) {
            assertSame(await dense.tensor(name), tensor, name);
          }
          const { quantization_config: _, quantization: __, ...config } = stored.config;
          assert.deepEqual(dense.config, { rope_theta: 1, ...config });
          assert.deepEqual(dense.files.includes("quantize_config.json"), false);
          assert.equal(await openDense(dense), dense);
        })));

    it(`reads any range of bytes, and several at a time: ${stored.title}`, () =>
      withCase(stored, (folder) =>
        withDense(folder, async (dense) => {
          for (const [name, { data }] of Object.entries(stored.weights)) {
            const size = Math.ceil(data.length / 7 / 2) * 2 + 2, parts: Promise<Uint8Array>[] = [];
            for (let at = 0; at < data.length; at += size) {
              parts.push(dense.read(name, at, Math.min(size, data.length - at)));
            }
            assertSame(Buffer.concat(await Promise.all(parts)), Buffer.from(data));
            assert.deepEqual(await dense.read(name, data.length - 2, 2), data.slice(-2));
          }
        })));
  }

  it("reads the rows that are asked for, and each tensor once if a weight is read in pieces that it cannot be divided into", async () => {
    const cases = STORED_CASES.filter(({ title }) =>
      /blocks of 128|mxfp4|gptq, 4 bits in groups of 16 in/.test(title)
    );
    assert.equal(cases.length, 3);
    for (const stored of cases) {
      await withCase(stored, (folder) =>
        withDense(folder, async (dense, checkpoint) => {
          const read = checkpoint.read.bind(checkpoint);
          let bytes = 0;
          checkpoint.read = (name, offset, length) => {
            bytes += length;
            return read(name, offset, length);
          };
          const [[name, { data, shape: [rows], dtype }]] = Object.entries(stored.weights), pieces = 8;
          const size = data.length / pieces;
          assert.ok(Number.isInteger(size) && dtype !== "F32", stored.title);
          for (let at = 0; at < data.length; at += size) await dense.read(name, at, size);
          const isDivided = stored.title.startsWith("fp8"); // each read of 25 of the 200 rows reads 1 or 2 rows of scales
          const total = Object.values(stored.tensors).reduce((sum, tensor) => sum + tensor.data.length, 0);
          if (!isDivided) assert.equal(bytes, total, stored.title);
          else assert.ok(bytes > rows * 300 && bytes <= rows * 300 + pieces * 2 * 3 * 4, `${bytes} bytes`);
        }));
    }
  });

  it("reads the description of the weights under its older name, compression_config", () => {
    const { config: { quantization_config, ...config }, ...stored } = STORED_CASES.find(({ title }) =>
      title.startsWith("float-quantized")
    )!;
    const older = { ...config, quantization_config: null, compression_config: quantization_config };
    return withCase({ ...stored, config: older }, (folder) =>
      withDense(folder, async (dense) => {
        assert.deepEqual(dense.config, { rope_theta: 1, ...config });
        for (const [name, tensor] of Object.entries(stored.weights)) {
          assert.deepEqual(await dense.tensor(name), tensor, name);
        }
      }));
  });

  it("leaves a dense checkpoint as it is", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, { "config.json": {}, "model.safetensors": DENSE_TENSORS });
      await withDense(folder, (dense, stored) => Promise.resolve(assert.equal(dense, stored)));
    }));
});

describe("unpackCheckpoint()", () => {
  const stored = STORED_CASES.find(({ title }) => title.startsWith("mxfp4"))!;
  it("writes the dense tensors, and a config.json without the quantisation", () =>
    withCase(stored, async (source) => {
      const target = `${source} dense`;
      const { unpacked } = await withCheckpoint(
        source,
        (opened) => unpackCheckpoint(opened, target, denoFileSystem),
      );
      assert.deepEqual(unpacked, Object.keys(stored.weights));
      assertSame(await readTensors(target), { ...DENSE_TENSORS, ...stored.weights });
      assert.deepEqual(JSON.parse(await Deno.readTextFile(`${target}/config.json`)), { rope_theta: 1 });
      assert.deepEqual(
        [...Deno.readDirSync(target)].some(({ name }) => name === "quantize_config.json"),
        false,
      );
    }));
});
