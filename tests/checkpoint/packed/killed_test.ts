import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { packCheckpoint } from "../../../src/checkpoint/packed/pack_checkpoint.ts";
import type { WorkFileSystem } from "../../../src/files/file_system.ts";
import { writeFiles } from "../../support/checkpoint_files.ts";
import { Killed, killedAfter } from "../../support/failing_file_system.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";
import { readTensors, sparseWeight, withCheckpoint } from "./packed_checkpoints.ts";

const NEW = { "x.fc1.weight": sparseWeight("F16", [20, 9], 0.7) };
const OLD = { "x.fc1.weight": sparseWeight("F16", [4, 5], 0.7) };

/**
 * Runs `body` with two folders: the source with a checkpoint to pack, and the target, which contains another
 * checkpoint.
 */
function withFolders(body: (source: string, target: string) => Promise<void>): Promise<void> {
  return withTemporaryFolder(async (folder) => {
    const source = `${folder}/source`, target = `${folder}/target`;
    for (const [path, tensors] of [[source, NEW], [target, OLD]] as const) {
      await Deno.mkdir(path);
      await Deno.writeTextFile(`${path}/config.json`, "{}");
      await writeFiles(path, { "model.safetensors": tensors });
    }
    await body(source, target);
  });
}

function pack(source: string, target: string, fs: WorkFileSystem): Promise<unknown> {
  const options = { format: "bitmask", overwrite: true } as const;
  return withCheckpoint(source, (opened) => packCheckpoint(opened, target, fs, options));
}

function fileExists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

it("packing over a checkpoint, if killed at any moment, leaves the old checkpoint, none or the new one", async () => {
  // One letter per moment: o if the target has the old checkpoint, - if it has none, and n if it has the new one.
  let outcomes = "";
  for (let operations = 0;; operations++) {
    let isDone = false;
    await withFolders(async (source, target) => {
      try {
        await pack(source, target, killedAfter(denoFileSystem, operations));
        isDone = true;
      } catch (error) {
        assert.ok(error instanceof Killed, String(error));
      }
      if (fileExists(`${target}/config.json`)) {
        const { "x.fc1.weight": old, "x.fc1.compressed": packed } = await readTensors(target);
        if (old) assert.deepEqual(old, OLD["x.fc1.weight"]);
        else assert.ok(packed);
        outcomes += old ? "o" : "n";
      } else outcomes += "-";
    });
    if (isDone) break;
  }
  assert.match(outcomes, /^o+-+n+$/);
});

it("packing renames config.json after the names of the other files are on the disk", () =>
  withFolders(async (source, target) => {
    const done: string[] = [];
    await pack(source, target, {
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
    assert.deepEqual(done, ["model.safetensors", "sync", "config.json", "sync"]);
  }));
