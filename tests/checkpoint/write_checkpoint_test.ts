import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import {
  type CheckpointWriter,
  writeCheckpoint,
  type WriteOptions,
} from "../../src/checkpoint/write_checkpoint.ts";
import { encode } from "../../src/safetensors/encode.ts";
import { fromFloat32 } from "../../src/tensor/convert.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { patternTensor, shardedCheckpoint, writeFiles } from "../support/checkpoint_files.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const FIRST = "model-00001-of-00002.safetensors";
const SECOND = "model-00002-of-00002.safetensors";

interface Copy {
  readonly source: string;
  readonly target: string;
  readonly checkpoint: Checkpoint;
  begin(options?: WriteOptions): Promise<CheckpointWriter>;
}

/** Runs `body` with a sharded checkpoint and a folder, not yet made, for its copy. */
function withCopy(body: (copy: Copy) => Promise<void>): Promise<void> {
  return withTemporaryFolder(async (folder) => {
    const source = `${folder}/source`, target = `${folder}/deep/target`;
    await Deno.mkdir(source);
    await writeFiles(source, shardedCheckpoint());
    const checkpoint = await openCheckpoint(source, denoFileSystem);
    const begin = (options?: WriteOptions) => writeCheckpoint(checkpoint, target, denoFileSystem, options);
    await body({ source, target, checkpoint, begin }).finally(() => checkpoint.close());
  });
}

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
}

describe("writeCheckpoint", () => {
  it("without replacements copies every file bit for bit, but weights in other formats", () =>
    withCopy(async ({ source, target, begin }) => {
      await (await begin()).finish();
      assert.deepEqual(names(target), names(source).filter((name) => name !== "pytorch_model.bin"));
      for (const name of names(target)) {
        assert.deepEqual(
          await Deno.readFile(`${target}/${name}`),
          await Deno.readFile(`${source}/${name}`),
          name,
        );
      }
    }));

  it("puts replaced tensors in their places and leaves the rest as it was", () =>
    withCopy(async ({ target, begin }) => {
      const writer = await begin();
      const replaced = { a: patternTensor("F16", [3, 5], 70), e: patternTensor("F16", [1], 71) };
      const d = patternTensor("F16", [7], 72);
      await Promise.all([
        ...Object.entries(replaced).map(([name, tensor]) => writer.replace(name, tensor)),
        writer.replace("d", d),
      ]);
      await writer.finish();
      const files = shardedCheckpoint() as Record<string, Record<string, HostTensor>>;
      const first = encode({ ...files[FIRST], a: replaced.a }, { format: "pt" });
      const second = encode({ ...files[SECOND], d, e: replaced.e }, { format: "pt" });
      assert.deepEqual(await Deno.readFile(`${target}/${FIRST}`), new Uint8Array(first));
      assert.deepEqual(await Deno.readFile(`${target}/${SECOND}`), new Uint8Array(second));
    }));

  it("converts a replacement to the dtype it had, and keeps the last of two", () =>
    withCopy(async ({ target, begin }) => {
      const writer = await begin();
      const values = Float32Array.of(0, -1.5, 3.14159, 65504, 1e-7, -0);
      await writer.replace("c", patternTensor("BF16", [2, 3], 9));
      await writer.replace("c", { dtype: "F32", shape: [2, 3], data: new Uint8Array(values.buffer) });
      await writer.finish();
      const copy = await openCheckpoint(target, denoFileSystem);
      assert.deepEqual(await copy.tensor("c"), {
        dtype: "BF16",
        shape: [2, 3],
        data: fromFloat32(values, "BF16"),
      });
      await copy.close();
    }));

  it("refuses replacements that do not fit", () =>
    withCopy(async ({ begin }) => {
      const writer = await begin();
      const shape = { name: "RangeError", message: /replace a: needs shape \[3,5\], got \[5,3\]/ };
      await assert.rejects(writer.replace("a", patternTensor("F16", [5, 3], 1)), shape);
      const u8: HostTensor = { dtype: "U8", shape: [3, 5], data: new Uint8Array(15) };
      await assert.rejects(writer.replace("a", u8), /replace a: needs dtype F16, got U8/);
      const short: HostTensor = { dtype: "F16", shape: [3, 5], data: new Uint8Array(28) };
      await assert.rejects(writer.replace("a", short), /replace a: needs 30 bytes, got 28/);
      await assert.rejects(writer.replace("z", u8), /has no tensor z; the nearest is/);
      await writer.abort();
    }));

  it("shows no finished file before the end, and none at all when aborted", () =>
    withCopy(async ({ target, begin }) => {
      const writer = await begin();
      await writer.replace("d", patternTensor("F16", [7], 8));
      assert.deepEqual(names(target), [`${SECOND}.partial`]);
      await writer.abort();
      assert.deepEqual(names(target), []);
    }));

  it("refuses a folder with files unless told to overwrite, then clears old weights", () =>
    withCopy(async ({ target, begin }) => {
      await Deno.mkdir(target, { recursive: true });
      await writeFiles(target, {
        "model.safetensors": {},
        "config.json": { old: true },
        "notes.txt": "mine",
      });
      await assert.rejects(begin(), { name: "ModelError", message: /target: is not empty/ });
      await (await begin({ overwrite: true })).finish();
      assert.ok(!names(target).includes("model.safetensors"));
      assert.equal(await Deno.readTextFile(`${target}/config.json`), '{"model_type":"opt"}');
      assert.equal(await Deno.readTextFile(`${target}/notes.txt`), "mine");
      await (await openCheckpoint(target, denoFileSystem)).close();
    }));

  it("refuses to write over the checkpoint it reads, by any name", () =>
    withCopy(async ({ source, checkpoint }) => {
      const alias = `${source}/../alias`;
      await Deno.symlink(source, alias);
      for (const folder of [source, alias]) {
        const writing = writeCheckpoint(checkpoint, folder, denoFileSystem, { overwrite: true });
        await assert.rejects(writing, /is the checkpoint itself/);
      }
    }));
});
