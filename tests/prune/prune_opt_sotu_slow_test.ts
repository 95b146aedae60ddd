/**
 * Prunes `opt-sotu`, a small OPT model that was trained on State of the Union addresses, without HTTP. The
 * test calibrates the model, solves every layer, writes the pruned checkpoint, and evaluates it.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { readMatrix, TiledMatrix, writeMatrix } from "../../src/device/tiled_matrix.ts";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { type Checkpoint, openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { openCopy } from "../../src/model/checkpoint/write/open_copy.ts";
import { planCopy } from "../../src/model/checkpoint/write/write_plan.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { compressLayer } from "../../src/layer/compress_layer.ts";
import type { LayerParameters } from "../../src/layer/methods.ts";
import { openModel } from "../../src/model/model.ts";
import { calibratedModel } from "../../src/prune/calibrated_model.ts";
import { parsePattern } from "../../src/tensor/pattern.ts";
import { bytesToFloats } from "../../src/tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../src/tensor/host_tensor.ts";
import { openOptSotu, OPT_SOTU, sotuTokens } from "../support/opt_sotu.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const calibration = calibrationWindows(await sotuTokens("calibration"), { windows: 16, seqlen: 256 });
const evaluation = await sotuTokens("evaluation");

/** Prunes half of the weights with the defaults of the published code. */
const HALF = { sparsity: 0.5, blocksize: 128, damping: 0.01, relativeError: false };

/** Solves a layer on the backend, without a host. Returns its new weight in F32. */
async function prune(
  backend: Backend,
  weight: HostTensor,
  packed: HostTensor,
  parameters: LayerParameters,
): Promise<HostTensor> {
  assert.equal(weight.dtype, "F16");
  const [rows, cols] = weight.shape;
  const w = new TiledMatrix(backend, { label: "weight", rows, cols });
  writeMatrix(backend, w, bytesToFloats(weight.data, "F16"));
  const h = new TiledMatrix(backend, { label: "hessian", rows: cols, cols, storage: "upper" });
  writeMatrix(backend, h, unpacked(asFloat32(packed.data), cols));
  const { solution, factor } = await compressLayer(
    backend,
    { layer: { weight: w }, hessian: h },
    parameters,
    () => 0,
  );
  const q = await readMatrix(backend, solution.q);
  solution.destroy();
  factor?.destroy();
  w.destroy();
  if (!factor) h.destroy();
  return { dtype: "F32", shape: weight.shape, data: new Uint8Array(q.buffer) };
}

/** Converts a packed upper triangle to an (n, n) matrix with zeros below the diagonal. */
function unpacked(packed: Float32Array, n: number): Float32Array {
  const h = new Float32Array(n * n);
  for (let i = 0, at = 0; i < n; at += n - i, i++) h.set(packed.subarray(at, at + n - i), i * n + i);
  return h;
}

describe("pruning opt-sotu by half", () => {
  let backend: Backend;
  let dense: Checkpoint;
  before(async () => {
    backend = await createCpuBackend();
    dense = await openOptSotu();
  });
  after(async () => {
    await dense.close();
    await backend.dispose();
  });

  async function measure(checkpoint: Checkpoint): Promise<number> {
    const options = { seqlen: 256, windows: 8 };
    return (await computePerplexity(openModel(checkpoint), backend, evaluation, options)).perplexity;
  }

  /** Writes the pruned checkpoint to `folder`, opens it, and returns its perplexity. */
  async function pruneInto(
    folder: string,
    method: LayerParameters["method"],
    pattern: string,
  ): Promise<number> {
    const copy = await openCopy(planCopy(dense), folder, denoFileSystem);
    const source = calibratedModel(openModel(dense), backend, {
      windows: calibration,
      onReplace: (name, weight) => copy.replace(name, weight),
    });
    const parameters = { ...HALF, method, pattern: parsePattern(pattern) };
    for await (const group of source.groups()) {
      for (const { name, weight } of group.layers) {
        await group.replace(
          name,
          await prune(backend, weight, await group.hessian!.packedUpper(), parameters),
        );
      }
    }
    await (await copy.complete()).publish();
    const pruned = await openCheckpoint(folder, denoFileSystem);
    try {
      await assertPruned(pruned, pattern);
      return await measure(pruned);
    } finally {
      await pruned.close();
    }
  }

  /**
   * Asserts that half of the weights in each linear layer of a block are 0, and with the pattern 2:4 two of
   * every four weights. All other tensors must equal those of the dense checkpoint.
   */
  async function assertPruned(pruned: Checkpoint, pattern: string): Promise<void> {
    for (const name of dense.names()) {
      const tensor = await pruned.tensor(name), original = await dense.tensor(name);
      if (!/layers\.\d+\.(self_attn\.\w+|fc\d)\.weight$/.test(name)) {
        assert.deepEqual(tensor, original, name);
        continue;
      }
      const values = bytesToFloats(tensor.data, "F16");
      const zeros = values.filter((value) => value === 0).length;
      assert.ok(zeros >= values.length / 2 && zeros < values.length * 0.65, `${name}: ${zeros} zeros`);
      if (pattern === "unstructured") continue;
      for (let i = 0; i < values.length; i += 4) {
        assert.ok(
          values.subarray(i, i + 4).filter((value) => value !== 0).length <= 2,
          `${name}: group at ${i}`,
        );
      }
    }
  }

  it("raises the perplexity less with SparseGPT than with magnitude, and less without a pattern than with 2:4", () =>
    withTemporaryFolder(async (folder) => {
      const before = await measure(dense);
      const sparsegpt = await pruneInto(`${folder}/sparsegpt`, "sparsegpt", "unstructured");
      const structured = await pruneInto(`${folder}/sparsegpt-2-4`, "sparsegpt", "2:4");
      const magnitude = await pruneInto(`${folder}/magnitude`, "magnitude", "unstructured");
      const report = JSON.stringify({ before, sparsegpt, structured, magnitude });
      assert.ok(before < sparsegpt && sparsegpt < structured && structured < magnitude, report);
      assert.ok(sparsegpt < before * 1.25, report);
      for (const name of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
        assert.deepEqual(
          await Deno.readFile(`${folder}/sparsegpt/${name}`),
          await Deno.readFile(`${OPT_SOTU}/${name}`),
        );
      }
    }));

  it("frees all memory of the device", () => assert.equal(backend.counters.bytesLive, 0));
});
