/**
 * Tests the inputs that packing and unpacking reject. The error must name the tensor or file, and no files
 * may remain.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { packCheckpoint, type PackOptions } from "../../../src/checkpoint/packed/pack_checkpoint.ts";
import { unpackCheckpoint } from "../../../src/checkpoint/packed/unpack_checkpoint.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { patternTensor, writeFiles } from "../../support/checkpoint_files.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";
import { readTensors, sparseWeight, twoFourWeight, withCheckpoint } from "./packed_checkpoints.ts";

const SPARSE = { "x.fc1.weight": sparseWeight("F16", [9, 20], 0.6) };
const TWO_FOUR = { "x.fc1.weight": twoFourWeight("F16", [9, 20]) };

/** Runs `body` with a folder that contains `tensors`, and with the path of a target folder, which does not exist yet. */
function withFolders(
  tensors: Record<string, HostTensor>,
  config: object,
  body: (source: string, target: string) => Promise<void>,
): Promise<void> {
  return withTemporaryFolder(async (folder) => {
    await Deno.mkdir(`${folder}/source`);
    await writeFiles(`${folder}/source`, { "config.json": config, "model.safetensors": tensors });
    await body(`${folder}/source`, `${folder}/target`);
  });
}

function assertAbsent(folder: string): void {
  assert.throws(() => Deno.statSync(folder), Deno.errors.NotFound);
}

async function assertPackRefused(
  tensors: Record<string, HostTensor>,
  config: object,
  options: PackOptions,
  message: RegExp,
): Promise<void> {
  await withFolders(tensors, config, async (source, target) => {
    const packing = withCheckpoint(
      source,
      (opened) => packCheckpoint(opened, target, denoFileSystem, options),
    );
    await assert.rejects(packing, { name: "ModelError", message });
    assertAbsent(target);
  });
}

/** Packs `dense`, changes the packed tensors with `change` and asserts that unpacking them fails. */
async function assertUnpackRefused(
  dense: Record<string, HostTensor>,
  change: (tensors: Record<string, HostTensor>) => Record<string, HostTensor | undefined>,
  message: RegExp,
): Promise<void> {
  const format = dense === TWO_FOUR ? "sparse-24" : "bitmask";
  await withFolders(dense, {}, async (source, target) => {
    const packed = `${target}-packed`;
    await withCheckpoint(source, (opened) => packCheckpoint(opened, packed, denoFileSystem, { format }));
    const tensors = await readTensors(packed);
    const changed = Object.entries({ ...tensors, ...change(tensors) }).filter(([, tensor]) =>
      tensor !== undefined
    );
    await writeFiles(packed, { "model.safetensors": Object.fromEntries(changed) });
    const unpacking = withCheckpoint(packed, (opened) => unpackCheckpoint(opened, target, denoFileSystem));
    await assert.rejects(unpacking, { name: "ModelError", message });
    assertAbsent(target);
  });
}

function withByte(tensor: HostTensor, at: number, change: (byte: number) => number): HostTensor {
  const data = tensor.data.slice();
  data[at] = change(data[at]);
  return { ...tensor, data };
}

function int64(shape: readonly number[], ...values: bigint[]): HostTensor {
  return { dtype: "I64", shape, data: new Uint8Array(BigInt64Array.from(values).buffer) };
}

describe("packCheckpoint", () => {
  it("rejects a checkpoint in which no weight becomes smaller", async () => {
    const dense = { "a.weight": sparseWeight("F16", [16, 16], 0), "a.bias": patternTensor("F16", [4], 1) };
    await assertPackRefused(
      dense,
      {},
      { format: "bitmask" },
      /smaller as bitmask: a\.weight has too few zeros/,
    );
    const flat = { "a.bias": patternTensor("F16", [4], 1) };
    await assertPackRefused(flat, {}, { format: "bitmask" }, /no 2-D tensor is called …\.weight/);
    await assertPackRefused(SPARSE, {}, { format: "sparse-24" }, /x\.fc1\.weight is not 2:4/);
  });

  it("rejects requested weights that do not exist or are not 2-D", async () => {
    const vector = { ...SPARSE, "n.weight": patternTensor("F32", [8], 1) };
    const requesting = (weights: string[]): PackOptions => ({ format: "bitmask", weights });
    await assertPackRefused(
      vector,
      {},
      requesting(["x.fc2.weight"]),
      /has no tensor x\.fc2\.weight; the nearest is/,
    );
    await assertPackRefused(
      vector,
      {},
      requesting(["n.weight"]),
      /cannot pack n\.weight: needs a 2-D .* got F32 \[8\]/,
    );
  });

  it("rejects a checkpoint that is already packed or quantised", async () => {
    const packed = { quant_method: "compressed-tensors", sparsity_config: { format: "sparse-bitmask" } };
    const bitmask: PackOptions = { format: "bitmask" };
    await assertPackRefused(SPARSE, { quantization_config: packed }, bitmask, /is packed already/);
    const quantised = { quant_method: "gptq", bits: 4 };
    await assertPackRefused(
      SPARSE,
      { quantization_config: quantised },
      bitmask,
      /not \{"quant_method":"gptq"/,
    );
  });

  it("rejects the folder of the checkpoint itself and a folder that is not empty", () =>
    withFolders(SPARSE, {}, async (source) => {
      const pack = (folder: string) =>
        withCheckpoint(
          source,
          (opened) => packCheckpoint(opened, folder, denoFileSystem, { format: "bitmask" }),
        );
      await assert.rejects(pack(source), /is the checkpoint itself/);
      await Deno.mkdir(`${source}-other`);
      await Deno.writeTextFile(`${source}-other/notes.txt`, "mine");
      await assert.rejects(pack(`${source}-other`), /is not empty/);
      assert.equal(await Deno.readTextFile(`${source}-other/notes.txt`), "mine");
    }));

  it("rejects with the reason of the signal if it is aborted, and removes the files", () =>
    withFolders(
      { ...SPARSE, "x.fc2.weight": sparseWeight("F16", [20, 9], 0.6) },
      {},
      async (source, target) => {
        const controller = new AbortController();
        const packing = withCheckpoint(source, (opened) =>
          packCheckpoint(opened, target, denoFileSystem, {
            format: "bitmask",
            signal: controller.signal,
            progress: (done, total) => {
              assert.deepEqual([done, total], [1, 2]);
              assert.deepEqual(Array.from(Deno.readDirSync(target), ({ name }) => name), [
                "model.safetensors.partial",
              ]);
              controller.abort(new Error("stopped"));
            },
          }));
        await assert.rejects(packing, /stopped/);
        assertAbsent(target);
      },
    ));
});

describe("unpackCheckpoint", () => {
  it("rejects a dense checkpoint", () =>
    withFolders(SPARSE, {}, async (source, target) => {
      const unpacking = withCheckpoint(source, (opened) => unpackCheckpoint(opened, target, denoFileSystem));
      await assert.rejects(unpacking, { name: "ModelError", message: /is not packed/ });
      assertAbsent(target);
    }));

  it("rejects bitmasks with more or fewer bits than stored entries", async () => {
    const tooMany = (tensors: Record<string, HostTensor>) => {
      const { dtype, shape: [count], data } = tensors["x.fc1.compressed"];
      return { "x.fc1.compressed": { dtype, shape: [count - 1], data: data.slice(2) } };
    };
    await assertUnpackRefused(
      SPARSE,
      tooMany,
      /x\.fc1\.compressed: holds \d+ entries, fewer than x\.fc1\.bitmask/,
    );
    const tooFew = (tensors: Record<string, HostTensor>) => {
      const { dtype, shape: [count], data } = tensors["x.fc1.compressed"];
      const longer = new Uint8Array(data.length + 2);
      return { "x.fc1.compressed": { dtype, shape: [count + 1], data: longer } };
    };
    await assertUnpackRefused(SPARSE, tooFew, /holds \d+ entries, but x\.fc1\.bitmask has \d+ bits set/);
  });

  it("rejects row offsets that disagree with the bitmask", async () => {
    const withWrongOffset = (at: number) => (tensors: Record<string, HostTensor>) => (
      { "x.fc1.row_offsets": withByte(tensors["x.fc1.row_offsets"], at, (byte) => byte ^ 1) }
    );
    await assertUnpackRefused(
      SPARSE,
      withWrongOffset(0),
      /x\.fc1\.row_offsets: row 0 must begin at entry 0 .* not 1/,
    );
    await assertUnpackRefused(
      SPARSE,
      withWrongOffset(8 * 8 + 7),
      /x\.fc1\.row_offsets: row 8 must begin at entry \d+/,
    );
  });

  it("rejects bitmasks with bits past the last column", async () => {
    const padded = (tensors: Record<string, HostTensor>) => (
      { "x.fc1.bitmask": withByte(tensors["x.fc1.bitmask"], 5, (byte) => byte | 0x80) }
    );
    for (const dense of [SPARSE, TWO_FOUR]) {
      await assertUnpackRefused(dense, padded, /x\.fc1\.bitmask: row 1 has a bit set past its 20 columns/);
    }
  });

  it("rejects groups of four without exactly two set bits", async () => {
    const crowded = (tensors: Record<string, HostTensor>) => (
      { "x.fc1.bitmask": withByte(tensors["x.fc1.bitmask"], 4, (byte) => (byte & 15) | 0x70) }
    );
    await assertUnpackRefused(TWO_FOUR, crowded, /x\.fc1\.bitmask: row 1 must keep two of columns 12 to 15/);
  });

  it("rejects parts that are missing or have the wrong dtype or shape", async () => {
    const without = (part: string) => () => ({ [`x.fc1.${part}`]: undefined });
    for (const part of ["compressed", "bitmask", "shape", "row_offsets"]) {
      await assertUnpackRefused(SPARSE, without(part), new RegExp(`has no tensor x\\.fc1\\.${part}`));
    }
    await assertUnpackRefused(
      SPARSE,
      () => ({ "x.fc1.shape": int64([2], 9n, 28n) }),
      /bitmask must be U8 \[9,4\]/,
    );
    await assertUnpackRefused(
      SPARSE,
      () => ({ "x.fc1.shape": int64([2], 2n, -1n) }),
      /must hold a shape, not \[2,-1\]/,
    );
    await assertUnpackRefused(
      SPARSE,
      () => ({ "x.fc1.shape": int64([3], 1n, 2n, 3n) }),
      /shape must be I64 \[2\] or/,
    );
    const numbers = (tensors: Record<string, HostTensor>): Record<string, HostTensor> => (
      { "x.fc1.compressed": { ...tensors["x.fc1.compressed"], dtype: "I16" } }
    );
    await assertUnpackRefused(SPARSE, numbers, /x\.fc1\.compressed must be F32, F16 or BF16, not I16/);
    await assertUnpackRefused(SPARSE, () => SPARSE, /holds x\.fc1\.weight both dense and packed/);
  });
});
