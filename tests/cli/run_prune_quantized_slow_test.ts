/**
 * Tests `pruneIntoFolder` with quantised output. A run that is stopped at any moment and then resumed must write the same bytes as a run
 * without a stop. The layers are solved in this process, and a fake pruner rounds the solutions to a grid.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { makeRandomOpt } from "../../scripts/fixtures/make_random_opt.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { assertSame } from "../support/assert_same.ts";
import { openLocalHost } from "../support/local_host.ts";
import { type FolderJob, pruneIntoFolder } from "../../src/prune/run/folder_destination.ts";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { unpackCheckpoint } from "../../src/model/formats/checkpoint/unpack_checkpoint.ts";
import type { RoundSolver } from "../../src/prune/steps.ts";
import { readTensor } from "../../src/model/checkpoint/tensor_source.ts";
import type { WorkFileSystem, WritableFile } from "../../src/base/files/file_system.ts";
import { openModel } from "../../src/model/model.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import type { GridOptions } from "../../src/tensor/quantization.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { assertSameAfterKills } from "../support/failing_file_system.ts";
import { quantize } from "../support/quantized_weights.ts";
import { readTensors, withCheckpoint } from "../support/checkpoint_files.ts";
import { readFolder, temporaryFolder } from "../support/temporary_folder.ts";

const SHAPE = { layers: 3, hidden: 8, heads: 2, ffn: 16, vocabulary: 2048, positions: 8 };
const WINDOWS = [Uint32Array.of(7, 300, 2, 45, 1999, 8), Uint32Array.of(1, 2, 3, 5, 8, 13)];
const PREFIX = "model.decoder.layers";
const CHOSEN = ["0.self_attn.q_proj", "0.fc1", "2.fc2"].map((name) => `${PREFIX}.${name}.weight`);

const folder = temporaryFolder();
await makeRandomOpt(`${folder}/model`, SHAPE);
const checkpoint = await openCheckpoint(`${folder}/model`, denoFileSystem), model = openModel(checkpoint);
const host = await openLocalHost("cpu");
after(() => Promise.all([host[Symbol.asyncDispose](), checkpoint.close()]).then(() => {}));

function gridOf(name: string): GridOptions {
  return { bits: name.includes("fc") ? 4 : 8, groupSize: name.includes("fc2") ? 8 : 0, symmetric: false };
}

function queryOf(name: string): LayerQuery {
  const { bits, groupSize } = gridOf(name);
  return { sparsity: 0.5, bits, ...groupSize > 0 && { group_size: groupSize } };
}

/** Prunes layers with the solver in this process, and rounds the result to the grid of the layer. */
const quantizingPruner: RoundSolver = {
  async *solveRound(groups) {
    for await (const group of groups) {
      for (const layer of group.layers) {
        const { name, weight: dense } = layer;
        const { weight, report } = await host.pare.pruneLayer(
          { weight: dense, hessian_upper: await group.hessian!.packedUpper() },
          { sparsity: 0.5 },
        );
        const values = bytesToFloats(weight.data, weight.dtype as FloatDtype);
        const [rows, cols] = weight.shape;
        const quantized = quantize(values, [rows, cols], gridOf(name), (i) => values[i] === 0);
        yield { group, layer, weight, quantized, report };
      }
    }
  },
};

function job(out: string, changes: Partial<FolderJob> = {}): FolderJob {
  return {
    checkpoint,
    model,
    windows: WINDOWS,
    layers: new Set(CHOSEN),
    queryOf,
    activations: "disk",
    out,
    fingerprint: { "--sparsity": "0.5" },
    format: "pack-quantized",
    reportFileNames: [],
    reportFiles: () => Promise.resolve(new Map()),
    ...changes,
  };
}

function run(
  what: FolderJob,
  fs: WorkFileSystem = denoFileSystem,
  pruner: RoundSolver = quantizingPruner,
) {
  const onDamage = (description: string) => assert.fail(`a stopped run is called damaged: ${description}`);
  return pruneIntoFolder(what, { fs, backend: host.backend, pruner, onDamage });
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

  it("writes the same bytes if it is stopped at a change of a file and then resumed", async () => {
    const expected = `${folder}/whole`, out = `${folder}/stopped`;
    await run(job(expected));
    await assertSameAfterKills((out, fs) => run(job(out), fs), expected, out, 3);
  });

  it("names the layer if the server returned no codes, or zeros that the layout cannot store", async () => {
    await assert.rejects(
      run(job(`${folder}/no-codes`), denoFileSystem, {
        async *solveRound(...round) {
          for await (const solved of quantizingPruner.solveRound(...round)) {
            yield { ...solved, quantized: undefined };
          }
        },
      }),
      { message: /^model\.decoder\.layers\.0\.self_attn\.q_proj\.weight: the server answered no codes/ },
    );
    const wrong = job(`${folder}/wrong`, { queryOf: (name) => ({ ...queryOf(name), symmetric: true }) });
    await assert.rejects(run(wrong), {
      name: "RangeError",
      message: /^model\.decoder\.layers\.0\.self_attn\.q_proj\.weight: zeros: entry \[0, 0\] must be 128/,
    });
  });
});
