/** Tests states that are created from hidden states instead of token ids. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decodeBlock } from "../../src/protocol/blocks/block_answer.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { Forward } from "../../src/model/forward.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { assertSame } from "../support/assert_same.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";
import { assertProblem } from "./assert_problem.ts";
import {
  block,
  creation,
  embedding,
  metadata,
  secondPruning,
  spec,
  STATES,
  TOKENS,
  windows,
} from "./block_bodies.ts";
import { startHost } from "./host.ts";

/** Returns the inputs of block 1 of the first windows, F32 [windows, tokens, hidden size]. */
async function inputsOfBlock1(count: number): Promise<HostTensor> {
  const backend = await createCpuBackend(), { variants: [{ model }] } = await readFamilyFixture("gpt2");
  const forward = await Forward.begin(backend, model, windows.slice(0, count));
  await forward.runBlock(0);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for await (const states of forward.hiddenStates.copies()) {
    parts.push(
      await backend.read(
        states,
        0,
        4 * forward.hiddenStates.batches[parts.length].count * TOKENS * spec.hiddenSize,
      ),
    );
  }
  forward.destroy();
  await backend.dispose();
  return {
    dtype: "F32",
    shape: [count, TOKENS, spec.hiddenSize],
    data: new Uint8Array(await new Blob(parts).arrayBuffer()),
  };
}

it("PUT /v1/states takes the inputs of a block, which is then pruned as after the blocks before it", async () => {
  const host = await startHost(), QUERY = "?states=run&block=";
  const prune = async () => {
    const answer = await host.send("POST", `/v1/blocks/prune${QUERY}1`, secondPruning);
    assert.equal(answer.status, 200);
    return decodeBlock(await answer.bytes()).layers.map(({ weight }) => weight);
  };
  assert.equal((await host.send("PUT", STATES, creation)).status, 201);
  assert.equal((await host.send("POST", `/v1/blocks/run${QUERY}0`, encode(block))).status, 200);
  const expected = await prune();
  const hidden_states = await inputsOfBlock1(windows.length);
  const created = await host.send("PUT", `${STATES}?block=1`, encode({ hidden_states }, metadata));
  assert.deepEqual(await created.json(), { next_block: 1, windows: windows.length, tokens: TOKENS });
  assertSame(await prune(), expected);
  await host.close();
});

it("PUT /v1/states refuses hidden states that do not fit", async () => {
  const host = await startHost(), live = host.liveBytes();
  const hidden_states = await inputsOfBlock1(1), { hiddenSize } = spec;
  const wrong = { ...hidden_states, shape: [1, TOKENS * hiddenSize, 1] };
  const cases = [
    ["shape_mismatch", "?block=1", { hidden_states: wrong }],
    ["shape_mismatch", "?block=1", { hidden_states, ...embedding }],
    ["shape_mismatch", "?block=1", { hidden_states, validation_hidden_states: wrong }],
    ["invalid_parameter", `?block=${spec.blockCount}`, { hidden_states }],
  ] as const;
  for (const [code, query, tensors] of cases) {
    await assertProblem(await host.send("PUT", STATES + query, encode(tensors, metadata)), code);
  }
  await assertProblem(await host.send("PUT", `${STATES}?block=1`, creation), "invalid_parameter");
  assert.equal(host.liveBytes(), live);
  assert.equal((await host.request(STATES)).status, 404);
  await host.close();
});
