/** Tests the states of a small Gemma 4 whose last blocks read the keys and values of earlier blocks. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decodeBlock } from "../../src/protocol/blocks/block_answer.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { blockTensors, embeddingTensors } from "../../src/model/families/check_tensors.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import { Forward } from "../../src/model/forward.ts";
import { countStatesBytes } from "../../src/model/hidden_states/hidden_states.ts";
import { countColumns } from "../../src/model/hidden_states/state_columns.ts";
import { weightName } from "../../src/prune/block_plan.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { assertSame } from "../support/assert_same.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";
import { ids, layers, STATES, tensorsOf } from "./block_bodies.ts";
import { createEvicted, filesIn, withHosts } from "./folder_hosts.ts";
import { startHost, type TestHost } from "./host.ts";

const { weights, windows: given, variants: [{ config: e2b }] } = await readFamilyFixture("gemma4_text_e2b");
const config = { ...e2b, hidden_size_per_layer_input: 0 };
const model = { spec: readModelSpec(config, weights.has), weights }, { spec } = model;
const metadata = { config: JSON.stringify(config) };
const windows = given.map((window) => window.slice(0, 5)), TOKENS = windows[0].length;
const flat = ids([windows.length, TOKENS], windows.flatMap((window) => [...window]));
const creation = encode({ windows: flat, ...await tensorsOf(embeddingTensors(spec), weights) }, metadata);

/** Prunes every layer of a block, and returns the weights. */
async function prune(host: TestHost, block: number): Promise<readonly HostTensor[]> {
  const names = spec.block(block).groups.flat().map((linear) => weightName(spec, block, linear));
  const queries = Object.fromEntries(names.map((name) => [name, { sparsity: 0.5 }]));
  const body = encode(await tensorsOf(blockTensors(spec, block), weights), layers(queries));
  const answer = await host.send("POST", `/v1/blocks/prune?states=run&block=${block}`, body);
  assert.equal(answer.status, 200);
  return decodeBlock(await answer.bytes()).layers.map(({ weight }) => weight);
}

/** Runs the states through a dense block. */
async function run(host: TestHost, block: number): Promise<void> {
  const body = encode(await tensorsOf(blockTensors(spec, block), weights));
  assert.equal((await host.send("POST", `/v1/blocks/run?states=run&block=${block}`, body)).status, 200);
}

/** Returns the inputs of `block`, F32 [windows, tokens, columns]. */
async function inputsOf(block: number): Promise<HostTensor> {
  const backend = await createCpuBackend(), parts: Uint8Array<ArrayBuffer>[] = [];
  const forward = await Forward.begin(backend, model, windows), { batches } = forward.hiddenStates;
  for (let index = 0; index < block; index++) await forward.runBlock(index);
  for await (const states of forward.hiddenStates.copies()) {
    const { count } = batches[parts.length];
    parts.push(await backend.read(states, 0, countStatesBytes(spec, count, TOKENS)));
  }
  forward.destroy();
  await backend.dispose();
  const data = new Uint8Array(await new Blob(parts).arrayBuffer());
  return { dtype: "F32", shape: [windows.length, TOKENS, countColumns(spec)], data };
}

it("PUT /v1/states takes the states before a block that reads the keys and values of an earlier one", async () => {
  const host = await startHost(), LAST = 3;
  assert.equal((await host.send("PUT", STATES, creation)).status, 201);
  for (let block = 0; block < LAST; block++) await run(host, block);
  const expected = await prune(host, LAST);
  const body = encode({ hidden_states: await inputsOf(LAST) }, metadata);
  const created = await host.send("PUT", `${STATES}?block=${LAST}`, body);
  assert.deepEqual(await created.json(), { next_block: LAST, windows: windows.length, tokens: TOKENS });
  assertSame(await prune(host, LAST), expected);
  await host.close();
});

it("states in the folder of a host have the shared keys and values", () =>
  withHosts(async (folder, start) => {
    const plain = await startHost();
    assert.equal((await plain.send("PUT", `${STATES}?target=dense`, creation)).status, 201);
    const expected = [await prune(plain, 0), await prune(plain, 1), await prune(plain, 2)];
    await plain.close();
    const host = await start();
    await createEvicted(host, "run", creation, "?target=dense");
    assert.equal((await filesIn(folder)).length, 1);
    const results = [await prune(host, 0), await prune(host, 1)];
    const restarted = await start();
    assertSame([...results, await prune(restarted, 2)], expected);
    assert.deepEqual(restarted.log, []);
  }));
