/** Tests that unpacking a quantised checkpoint leaves a whole checkpoint or none, whatever stops it. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  unpackCheckpoint,
  type UnpackOptions,
} from "../../../src/model/formats/checkpoint/unpack_checkpoint.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import type { WorkFileSystem } from "../../../src/base/files/file_system.ts";
import type { GridOptions } from "../../../src/tensor/quantization.ts";
import { patternTensor, readTensors, withCheckpoint, writeFiles } from "../../support/checkpoint_files.ts";
import { Killed, killedAfter } from "../../support/failing_file_system.ts";
import { packNamed, writeQuantizedFolder } from "../../support/quantized_checkpoints.ts";
import { randomQuantized } from "../../support/quantized_weights.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

const GRID: GridOptions = { bits: 4, groupSize: 0, symmetric: true };
const WEIGHT = { quantized: randomQuantized([20, 9], GRID), grid: GRID, dtype: "F16" } as const;
const NEW = {
  "x.fc1.weight": packNamed("x.fc1.weight", WEIGHT).dense,
  "x.fc1.bias": patternTensor("F16", [20], 1),
};
const OLD = { "x.fc1.weight": patternTensor("F16", [4, 5], 2) };

/** Runs `body` with the folder of a quantised checkpoint and the path of a folder that does not exist. */
function withFolders(body: (source: string, target: string) => Promise<void>): Promise<void> {
  return withTemporaryFolder(async (folder) => {
    await Deno.mkdir(`${folder}/dense`);
    await writeFiles(`${folder}/dense`, { "config.json": {}, "model.safetensors": NEW });
    await writeQuantizedFolder(`${folder}/dense`, `${folder}/source`, { "x.fc1.weight": WEIGHT });
    await body(`${folder}/source`, `${folder}/target`);
  });
}

function unpack(source: string, target: string, fs: WorkFileSystem, options: UnpackOptions = {}) {
  return withCheckpoint(source, (opened) => unpackCheckpoint(opened, target, fs, options));
}

/** Replaces the folder `target` by one with another checkpoint. */
async function writeOld(target: string): Promise<void> {
  await Deno.remove(target, { recursive: true }).catch(() => {});
  await Deno.mkdir(target);
  await writeFiles(target, { "config.json": {}, "model.safetensors": OLD });
}

describe("unpackCheckpoint()", () => {
  it("over a checkpoint, if killed at any moment, leaves the old checkpoint, none or the new one", () =>
    withFolders(async (source, target) => {
      // One letter per moment: o if the target has the old checkpoint, - if it has none, and n if it has the new one.
      let outcomes = "", isDone = false;
      for (let operations = 0; !isDone; operations++) {
        await writeOld(target);
        isDone = await unpack(source, target, killedAfter(denoFileSystem, operations), { overwrite: true })
          .then(() => true, (error) => {
            assert.ok(error instanceof Killed, String(error));
            return false;
          });
        if ([...Deno.readDirSync(target)].some(({ name }) => name === "config.json")) {
          const tensors = await readTensors(target), isOld = !("x.fc1.bias" in tensors);
          assert.deepEqual(tensors, isOld ? OLD : NEW);
          outcomes += isOld ? "o" : "n";
        } else outcomes += "-";
      }
      assert.match(outcomes, /^o+-+n+$/);
    }));

  it("renames config.json after the names of the other files are on the disk", () =>
    withFolders(async (source, target) => {
      const done: string[] = [];
      await unpack(source, target, {
        ...denoFileSystem,
        rename: async (from, to) => {
          done.push(to.slice(target.length + 1));
          await denoFileSystem.rename(from, to);
        },
        syncFolder: async (folder) => {
          done.push("sync");
          await denoFileSystem.syncFolder(folder);
        },
      });
      assert.deepEqual(done, ["sync", "model.safetensors", "sync", "config.json", "sync"]);
    }));

  it("rejects the folder of the checkpoint itself, a folder that is not empty and a dense checkpoint", () =>
    withFolders(async (source, target) => {
      await assert.rejects(unpack(source, source, denoFileSystem), /is the checkpoint itself/);
      await writeOld(target);
      await assert.rejects(unpack(source, target, denoFileSystem), /is not empty/);
      assert.deepEqual(await readTensors(target), OLD);
      await assert.rejects(unpack(target, `${target}2`, denoFileSystem), /has no quantised weights/);
    }));

  it("rejects a sparse format by its name, and says what to do", () =>
    withFolders(async (source, target) => {
      const sparsity_config = { format: "sparse-24-bitmask" };
      const quantization_config = { quant_method: "compressed-tensors", sparsity_config };
      await writeFiles(source, { "config.json": { quantization_config } });
      await assert.rejects(unpack(source, target, denoFileSystem), {
        name: "ModelError",
        message:
          /source: .* sparse format "sparse-24-bitmask", .* compressed-tensors 0\.14 .* prune the original/,
      });
    }));

  it("rejects with the reason of the signal if it is aborted, and removes the files", () =>
    withFolders(async (source, target) => {
      const controller = new AbortController();
      const progress = (done: number, total: number) => {
        assert.deepEqual([done, total], [1, 2]);
        assert.ok([...Deno.readDirSync(target)].some(({ name }) => name === "model.safetensors.partial"));
        controller.abort(new Error("stopped"));
      };
      const { signal } = controller;
      await assert.rejects(unpack(source, target, denoFileSystem, { signal, progress }), /stopped/);
      assert.throws(() => Deno.statSync(target), Deno.errors.NotFound);
    }));
});
