/**
 * Writes a copy of a checkpoint whose weights are pruned by magnitude and rounded to nearest. No weight compensates for the error of
 * another, so no calibration text is needed.
 */

import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openBackend } from "../../src/cli/open_backend.ts";
import { readTensor } from "../../src/model/checkpoint/tensor_source.ts";
import { openModelFolder } from "../../src/model/model.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { packedIdentity } from "../../src/prune/blocks/summed_layers.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { copyDestination } from "./write_pruned.ts";

/**
 * Prunes and rounds all linear layers in the blocks of the model in `folder`, and writes the result into `out`, which is replaced.
 * @returns the name of the device
 * @param query the sparsity and the grids. The method is `magnitude`, and a grid spans all weights of its group
 */
export async function writeNearest(
  folder: string,
  out: string,
  query: Omit<LayerQuery, "method">,
): Promise<string> {
  await using cleanup = new AsyncDisposableStack();
  const opened = cleanup.use(await openModelFolder(folder, denoFileSystem)), { model } = opened;
  const backend = await openBackend({ backend: "cpu" }, cleanup);
  const pruner = new DevicePruner(backend);
  const ranges = query.bits === undefined ? {} : { ranges: "minmax" } as const;
  await copyDestination(opened.checkpoint, out, true).fill(async ({ replace }) => {
    for (const { name, cols } of linearLayers(model.spec)) {
      const weight = await readTensor(model.weights, name);
      // With the identity as statistics, rounding one weight changes no other.
      const tensors = { weight, hessian_upper: packedIdentity(cols) };
      await replace(
        name,
        (await pruner.pruneLayer(tensors, { ...query, ...ranges, method: "magnitude", error: false })).weight,
      );
    }
  });
  return backend.adapter.name;
}
