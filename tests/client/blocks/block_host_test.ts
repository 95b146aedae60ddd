/** Tests that `BlockHost` creates states, has blocks pruned and statistics added, and deletes the states. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { BlockHost, type PackedStatistics, PareError } from "../../../src/client/mod.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { blockTensors } from "../../../src/model/families/check_tensors.ts";
import { asFloat32 } from "../../../src/tensor/host_tensor.ts";
import {
  block,
  config,
  embedding,
  given,
  layer,
  layerName,
  TOKENS,
  windows,
} from "../../routes/block_bodies.ts";
import { readFamilyFixture } from "../../support/family_fixtures.ts";
import { openLocalHost } from "../../support/local_host.ts";

const tensors = new Map(Object.entries(block)), transposed = new Set([layerName]);

it("BlockHost creates states, stores and adds statistics, prunes a block, and deletes the states", async () => {
  await using local = await openLocalHost(await createCpuBackend());
  const host = new BlockHost(local.transport, "run"), names = Object.keys(block);
  assert.equal(await host.nextBlock(), undefined);
  await host.create(config, names, new Map(Object.entries({ windows: given, ...embedding })), {
    target: "none",
  });
  assert.equal(await host.nextBlock(), 0);
  const layers = { [layerName]: { sparsity: 0.5 } };
  const { sums } = await host.run({ kind: "collect", block: 0 }, tensors, layers);
  assert.deepEqual(sums, [{ name: layerName, tokens: windows.length * TOKENS, validation_tokens: 0 }]);
  const { sums: own } = await host.addSums(layerName, layer.inFeatures, {});
  const { sums: twice } = await host.addSums(layerName, layer.inFeatures, own);
  const values = ({ hessian_upper }: PackedStatistics) => asFloat32(hessian_upper!.data);
  assert.deepEqual(values(twice), values(own).map((value) => 2 * value));
  const solved = await host.run({ kind: "prune", block: 0 }, tensors, layers, { transposed });
  assert.deepEqual(solved.layers.map(({ name, report }) => [name, report.sparsity]), [[layerName, 0.5]]);
  assert.equal(await host.nextBlock(), 1);
  await host.delete();
  await host.delete();
  assert.equal(await host.nextBlock(), undefined);
  await assert.rejects(
    host.run({ kind: "prune", block: 0 }, tensors, layers),
    (error) => error instanceof PareError && error.code === "states_not_found",
  );
});

it("BlockHost.create() is refused for Gemma 4 E2B and E4B, and the error says how to prune them", async () => {
  await using local = await openLocalHost(await createCpuBackend());
  const { variants: [{ config, model: { spec } }] } = await readFamilyFixture("gemma4_text_e2b");
  const host = new BlockHost(local.transport, "run"), names = blockTensors(spec, 0).map(([name]) => name);
  await assert.rejects(host.create(config, names, new Map([["windows", given]]), { target: "none" }), {
    name: "PareError",
    code: "invalid_parameter",
    message: /hosts do not run the blocks of Gemma 4 E2B and E4B, .* use pare prune without --remote/,
  });
});
