/** Tests `pruneIntoFolder` with quantised output. `run_prune_slow_test.ts` stops and continues such runs. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { assertSame } from "../support/assert_same.ts";
import { openLocalHost } from "../support/local_host.ts";
import { type FolderJob, pruneIntoFolder } from "../../src/prune/run/folder_destination.ts";
import { unpackCheckpoint } from "../../src/model/formats/checkpoint/unpack_checkpoint.ts";
import { readTensor } from "../../src/model/checkpoint/tensor_source.ts";
import type { WorkFileSystem, WritableFile } from "../../src/base/files/file_system.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import type { RoundSolver } from "../../src/prune/steps.ts";
import type { GridOptions } from "../../src/tensor/quantization.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { readTensors, withCheckpoint } from "../support/checkpoint_files.ts";
import { CHOSEN, openSmallModel } from "../support/small_run.ts";
import { readFolder } from "../support/temporary_folder.ts";

const { folder, checkpoint, job: denseJob } = await openSmallModel();
const host = await openLocalHost("cpu");
after(() => host[Symbol.asyncDispose]());

function gridOf(name: string): GridOptions {
  return { bits: name.includes("fc") ? 4 : 8, groupSize: name.includes("fc2") ? 8 : 0, symmetric: false };
}

function queryOf(name: string): LayerQuery {
  const { bits, groupSize } = gridOf(name);
  return { sparsity: 0.5, bits, group_size: groupSize };
}

function job(out: string, changes: Partial<FolderJob> = {}): FolderJob {
  const noReport = { reportFileNames: [], reportFiles: () => Promise.resolve(new Map()) };
  return denseJob(out, { queryOf, format: "pack-quantized", ...noReport, ...changes });
}

function run(what: FolderJob, fs: WorkFileSystem = denoFileSystem) {
  const { backend, pruner } = host;
  return pruneIntoFolder(what, { fs, backend, pruner });
}

/** Runs a job whose layers are all solved with the parameters `query`, whatever the job asks for. */
function runWith(query: LayerQuery, what: FolderJob) {
  const { backend, pruner } = host;
  const solveRound: RoundSolver["solveRound"] = (groups, _, options) =>
    pruner.solveRound(groups, () => query, options);
  return pruneIntoFolder(what, { fs: denoFileSystem, backend, pruner: { solveRound } });
}

describe("pruneIntoFolder() with quantised output", () => {
  it("writes the quantised layers, and lists all other layers in the ignore list", async () => {
    const out = `${folder}/quantized`;
    await run(job(out));
    const { quantization_config: config } = JSON.parse(await Deno.readTextFile(`${out}/config.json`));
    const targets = Object.values(config.config_groups as Record<string, { targets: string[] }>)
      .flatMap((group) => group.targets);
    assert.deepEqual(targets.toSorted(), CHOSEN.map((name) => name.replace(/\.weight$/, "")).toSorted());
    assert.equal(config.ignore.length, 1 + 3 * 6 - 3);
    assert.equal(config.ignore[0], "lm_head");
    const tensors = await readTensors(out);
    for (const name of CHOSEN) assert.ok(!(name in tensors) && `${name}_packed` in tensors, name);
    const files = [...(await readFolder(out)).keys()];
    assert.deepEqual(files, [
      "/config.json",
      "/model.safetensors",
      "/tokenizer.json",
      "/tokenizer_config.json",
    ]);
  });

  it("measures the pruned model with the dense weights of the packed output", async () => {
    const out = `${folder}/measured`, unpacked = `${folder}/unpacked`;
    const measured: Record<string, HostTensor> = {};
    await run(job(out, {
      reportFiles: async (_, { weights }) => {
        for (const name of checkpoint.names()) measured[name] = await readTensor(weights, name);
        return new Map();
      },
    }));
    await withCheckpoint(out, (opened) => unpackCheckpoint(opened, unpacked, denoFileSystem));
    assertSame(await readTensors(unpacked), measured);
    assert.notDeepEqual(measured[CHOSEN[2]], await checkpoint.tensor(CHOSEN[2]));
  });

  it("writes every byte of the output once, and no dense copy", async () => {
    const out = `${folder}/counted`, written = new Map<string, number>();
    const count = (path: string) => <F extends WritableFile>(file: F): F => {
      const write = file.write.bind(file);
      file.write = async (offset, bytes) => {
        written.set(path, (written.get(path) ?? 0) + bytes.byteLength);
        await write(offset, bytes);
      };
      return file;
    };
    await run(job(out), {
      ...denoFileSystem,
      create: async (path, mode) => count(path)(await denoFileSystem.create(path, mode)),
      edit: async (path) => count(path)(await denoFileSystem.edit(path)),
    });
    const ofRun = [...written].filter(([path]) => path.startsWith(`${out}/.pare/`)).map(([path]) =>
      path.slice(`${out}/.pare/`.length)
    );
    assert.ok(
      ofRun.every((name) => /^(journal\.jsonl|run\.json|states-\d\.f32)(\.partial)?$/.test(name)),
      ofRun.join(),
    );
    for (const [name, bytes] of await readFolder(out)) {
      assert.equal(written.get(`${out}${name}.partial`), bytes.byteLength, name);
    }
  });

  it("names the layer if the server returned no codes, or zeros that the layout cannot store", async () => {
    await assert.rejects(runWith({ sparsity: 0.5 }, job(`${folder}/no-codes`)), {
      message: /^model\.decoder\.layers\.0\.self_attn\.q_proj\.weight: the server answered no codes/,
    });
    const wrong = job(`${folder}/wrong`, { queryOf: () => ({ sparsity: 0.5, bits: 8, symmetric: true }) });
    await assert.rejects(runWith({ sparsity: 0.5, bits: 8 }, wrong), {
      name: "RangeError",
      message: /^model\.decoder\.layers\.0\.self_attn\.q_proj\.weight: zeros: entry \[0, 0\] must be 128/,
    });
  });
});
