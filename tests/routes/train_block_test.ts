/** Tests `POST /v1/blocks/train`, by which a host trains a block that other hosts have solved. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decodeBlock } from "../../src/protocol/blocks/block_answer.ts";
import type { SolvedBlock } from "../../src/protocol/blocks/solved_block.ts";
import { PRUNED } from "../../src/protocol/blocks/block_names.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";
import { transpose } from "../../src/tensor/transpose.ts";
import { assertProblem } from "./assert_problem.ts";
import {
  block,
  COLLECT,
  embedding,
  given,
  layerName,
  MEASURE,
  metadata,
  objectBytesOf,
  PRUNE,
  pruning,
  STATES,
  TOKENS,
  TRAIN,
  windows,
} from "./block_bodies.ts";
import { startHost } from "./host.ts";

const creation = encode({ windows: given, validation_windows: given, ...embedding }, metadata);

const host = await startHost();
const live = host.liveBytes();
after(() => host.close());

async function post(path: string, body: Uint8Array<ArrayBuffer>): Promise<SolvedBlock> {
  const answer = await host.send("POST", path, body);
  assert.equal(answer.status, 200);
  return decodeBlock(await answer.bytes());
}

/** Returns the pruned layer, as the checkpoint stores it. */
async function prunedLayer() {
  const { layers: [{ weight }], reconstructed } = await post(`${PRUNE}&reconstruct=2`, pruning);
  return { weight: transpose(weight), reconstructed };
}

describe("POST /v1/blocks/train", () => {
  for (const target of ["none", "dense"]) {
    it(`trains the block as the host that has solved it would, and keeps the states, with target ${target}`, async () => {
      await host.send("PUT", `${STATES}?target=${target}`, creation);
      const { weight, reconstructed } = await prunedLayer();
      await host.send("PUT", `${STATES}?target=${target}`, creation);
      const { states } = host.device.session(), bytes = states.byteLength;
      const body = encode({ ...block, [PRUNED + layerName]: weight });
      for (let repeat = 0; repeat < 2; repeat++) {
        const trained = await post(TRAIN, body), withoutSeconds = { ...trained.reconstructed, seconds: 0 };
        assert.deepEqual(trained.layers, []);
        assert.deepEqual(withoutSeconds, { ...reconstructed, seconds: 0 });
        assert.equal(host.liveBytes(), live);
        assert.equal(states.byteLength, bytes);
      }
      assert.ok(reconstructed!.after < reconstructed!.before);
      const zeros = asFloat32(reconstructed!.tensors.get(layerName)!.data).filter((value) => value === 0);
      assert.equal(zeros.length, asFloat32(weight.data).filter((value) => value === 0).length);
      const { next_block } = await (await host.request(STATES)).json();
      assert.equal(next_block, 0);
    });
  }

  it("is refused with layers, without pruned tensors, and without epochs", async () => {
    await host.send("PUT", `${STATES}?target=dense`, creation);
    const body = encode({ ...block, [PRUNED + layerName]: block[layerName] });
    for (const path of [TRAIN.replace("=2", "=0"), TRAIN.replace("&epochs=2", "")]) {
      await assertProblem(await host.send("POST", path, body), "invalid_parameter");
    }
    await assertProblem(await host.send("POST", TRAIN, pruning), "invalid_parameter");
    await assertProblem(await host.send("POST", TRAIN, encode(block)), "shape_mismatch");
  });

  it("counts the outputs of the dense model in the budget", async () => {
    const windowBytes = TOKENS * embedding[Object.keys(embedding)[0]].shape[1] * 4;
    const heldOutBytes = windows.length * windowBytes, allBytes = 2 * heldOutBytes;
    const body = encode({ ...block, [PRUNED + layerName]: block[layerName] });
    const budget = objectBytesOf(creation) + 2 * allBytes + heldOutBytes +
      Math.max(body.length, creation.length) + allBytes - 1;
    const host = await startHost({ device: { statesBytes: budget } });
    assert.equal((await host.send("PUT", `${STATES}?target=dense`, creation)).status, 201);
    assert.equal((await host.send("POST", MEASURE, body)).status, 200);
    await host.send("PUT", `${STATES}?target=dense`, creation);
    await assertProblem(await host.send("POST", TRAIN, body), "too_large");
    await host.close();
  });
});

it("POST /v1/blocks/collect with targets=false stores statistics without moments", async () => {
  await host.send("PUT", `${STATES}?target=dense`, creation);
  const sums = async (parameters: string) => {
    await post(`${COLLECT}${parameters}`, pruning);
    const answer = await host.send(
      "POST",
      `${STATES}/sums?layer=${encodeURIComponent(layerName)}`,
      encode({}),
    );
    return decode(await answer.bytes()).tensors;
  };
  const { hessian_upper, validation_hessian_upper } = Object.fromEntries(await sums(""));
  const without = await sums("&targets=false");
  assert.deepEqual(Object.fromEntries(without), { hessian_upper, validation_hessian_upper });
});
