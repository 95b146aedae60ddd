/** Tests `POST /v1/states/{name}/sums`: the statistics that a host stores for a run on several hosts, and what it refuses. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decodeBlock } from "../../src/protocol/blocks/block_answer.ts";
import type { ProblemCode } from "../../src/protocol/problem_codes.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { asFloat32, type HostTensor } from "../../src/tensor/host_tensor.ts";
import { transpose } from "../../src/tensor/transpose.ts";
import { assertClose } from "../support/assert_close.ts";
import { assertProblem } from "./assert_problem.ts";
import {
  block,
  COLLECT,
  embedding,
  ids,
  layer,
  layerName,
  layers,
  MEASURE,
  metadata,
  objectBytesOf,
  PRUNE,
  pruning,
  STATES,
  TOKENS,
  windows,
} from "./block_bodies.ts";
import { startHost } from "./host.ts";
import { assertSame } from "../support/assert_same.ts";

const FITTED = 18, HELD_OUT = 3, ENTRIES = layer.inFeatures * (layer.inFeatures + 1) / 2;
const SUMS = `${STATES}/sums?layer=${encodeURIComponent(layerName)}`;

/** Returns windows of tokens of the model. */
function windowsOf(count: number): HostTensor {
  return ids(
    [count, TOKENS],
    Array.from({ length: count }, (_, i) => [...windows[i % windows.length]]).flat(),
  );
}

const calibration = { windows: windowsOf(FITTED), validation_windows: windowsOf(HELD_OUT), ...embedding };
const creation = encode(calibration, metadata);

function filled(value: number, entries = ENTRIES): HostTensor {
  return {
    dtype: "F32",
    shape: [entries],
    data: new Uint8Array(new Float32Array(entries).fill(value).buffer),
  };
}

const host = await startHost();
const live = host.liveBytes();
after(() => host.close());

describe("/v1/states/{name}/sums", () => {
  const sums = async (body: Uint8Array<ArrayBuffer>) => {
    const answer = await host.send("POST", SUMS, body);
    assert.equal(answer.status, 200);
    return decode(new Uint8Array(await answer.arrayBuffer())).tensors;
  };

  it("adds the statistics of the stored windows to those in the body, until the states advance", async () => {
    await host.send("PUT", STATES, creation);
    await assertProblem(await host.send("POST", SUMS, encode({})), "states_not_found");
    const collected = await host.send("POST", COLLECT, pruning);
    assert.deepEqual(decodeBlock(await collected.bytes()).sums, [
      { name: layerName, tokens: FITTED * TOKENS, validation_tokens: HELD_OUT * TOKENS },
    ]);
    assert.equal(host.liveBytes(), live);
    const own = await sums(encode({}));
    assert.deepEqual([...own.keys()], ["hessian_upper", "validation_hessian_upper"]);
    assertSame(await sums(encode({ hessian_upper: filled(0) })), own);
    const after = await sums(encode({ hessian_upper: filled(1e6), validation_hessian_upper: filled(7) }));
    for (const [name, added] of [["hessian_upper", 1e6], ["validation_hessian_upper", 7]] as const) {
      const values = asFloat32(own.get(name)!.data);
      const close = asFloat32(after.get(name)!.data).every((sum, i) =>
        Math.abs(sum - added - values[i]) <= 2 ** -22 * (added + Math.abs(values[i]))
      );
      assert.ok(close, name);
    }
    const { next_block } = await (await host.request(STATES)).json();
    assert.equal(next_block, 0);
    assert.equal((await host.send("POST", PRUNE, pruning)).status, 200);
    await assertProblem(await host.send("POST", SUMS, encode({})), "states_not_found");
  });

  const wrong: readonly (readonly [string, ProblemCode, string, Uint8Array<ArrayBuffer>])[] = [
    ["a layer without statistics", "states_not_found", `${STATES}/sums?layer=x`, encode({})],
    ["no layer", "invalid_parameter", `${STATES}/sums`, encode({})],
    ["other states", "states_not_found", SUMS.replace("run", "other"), encode({})],
    ["sums of another order", "shape_mismatch", SUMS, encode({ hessian_upper: filled(0, ENTRIES - 1) })],
    ["an unknown tensor", "shape_mismatch", SUMS, encode({ hessian: filled(0) })],
    ["a body that is cut off", "truncated_body", SUMS, encode({ hessian_upper: filled(0) }).slice(0, -1)],
  ];
  it("refuses requests that do not fit, and keeps the statistics", async () => {
    await host.send("PUT", STATES, creation);
    await host.send("POST", COLLECT, pruning);
    const own = await sums(encode({}));
    for (const [what, code, path, body] of wrong) {
      const response = await host.send("POST", path, body);
      assert.notEqual(response.status, 200, what);
      await assertProblem(response, code);
    }
    assert.deepEqual(await sums(encode({})), own);
  });

  it("counts the memory of answers until they are sent", async () => {
    await host.send("PUT", STATES, creation);
    const { states } = host.device.session();
    for (const [path, body] of [[COLLECT, pruning], [SUMS, encode({})], [PRUNE, pruning]] as const) {
      const answer = await host.send("POST", path, body), bytes = states.byteLength;
      assert.equal(answer.status, 200);
      await answer.body?.cancel();
      assert.equal(bytes - states.byteLength, Number(answer.headers.get("Content-Length")), path);
    }
  });

  it("adds moments with states of the dense model, and answers the targets of weights", async () => {
    await host.send("PUT", `${STATES}?target=dense`, creation);
    assert.equal((await host.send("POST", COLLECT, pruning)).status, 200);
    const own = await sums(encode({})), weight = transpose(block[layerName]);
    const names = ["hessian_upper", "moments", "validation_hessian_upper", "validation_moments"];
    assert.deepEqual([...own.keys()].toSorted(), names);
    const withTargets = await sums(encode({ [layerName]: weight }));
    assert.equal(host.liveBytes(), live);
    for (const prefix of ["", "validation_"]) {
      const hessian = own.get(`${prefix}hessian_upper`)!,
        target = withTargets.get(`${prefix}target.${layerName}`)!;
      assertSame(withTargets.get(`${prefix}hessian_upper`), hessian);
      assert.deepEqual(target.shape, weight.shape);
      // Both models have the same inputs before the first block, so the target is W·H.
      const [w, h] = [weight, hessian].map(({ data }) => asFloat32(data)), n = layer.inFeatures;
      const entry = (i: number, j: number) =>
        h[i <= j ? i * n - i * (i + 1) / 2 + j : j * n - j * (j + 1) / 2 + i];
      const expected = w.map((_, at) => {
        const row = Math.floor(at / n), col = at % n;
        return Array.from({ length: n }, (_, k) => w[row * n + k] * entry(k, col)).reduce((a, b) => a + b);
      });
      assertClose(asFloat32(target.data), expected, 1e-5);
    }
  });

  it("refuses moments and weights that do not fit the states", async () => {
    const weight = transpose(block[layerName]), n = layer.inFeatures;
    const moments = { dtype: "F32", shape: [n, n], data: new Uint8Array(4 * n * n) } as const;
    await host.send("PUT", STATES, creation);
    await host.send("POST", COLLECT, pruning);
    for (const body of [encode({ moments }), encode({ [layerName]: weight })]) {
      await assertProblem(await host.send("POST", SUMS, body), "shape_mismatch");
    }
    await host.send("PUT", `${STATES}?target=dense`, creation);
    await host.send("POST", COLLECT, pruning);
    for (
      const body of [
        encode({ moments: { ...moments, shape: [n * n] } }),
        encode({ [layerName]: { ...weight, shape: [n, weight.shape[0]] } }),
      ]
    ) {
      await assertProblem(await host.send("POST", SUMS, body), "shape_mismatch");
    }
  });

  it("measures an error against the dense model only where it is defined, and keeps the states", async () => {
    const against = `${MEASURE}&against=model`;
    const pruned = encode({ ...block, [`pruned.${layerName}`]: block[layerName] });
    await host.send("PUT", STATES, creation);
    await assertProblem(await host.send("POST", against, pruned), "invalid_parameter");
    await host.send("PUT", `${STATES}?target=dense`, creation);
    await assertProblem(await host.send("POST", against, pruning), "invalid_parameter");
    await assertProblem(await host.send("POST", against, encode(block)), "shape_mismatch");
    for (let repeat = 0; repeat < 2; repeat++) {
      const answer = await host.send("POST", against, pruned);
      assert.equal(decodeBlock(await answer.bytes()).error, 0);
    }
    const { next_block } = await (await host.request(STATES)).json();
    assert.equal(next_block, 0);
  });
});

it("the stored statistics count in the budget of the states", async () => {
  const windowBytes = TOKENS * block[Object.keys(block)[0]].shape[0] * 4;
  const statesBytes = (FITTED + HELD_OUT) * windowBytes + objectBytesOf(creation);
  const budget = statesBytes + Math.max(creation.length, pruning.length + HELD_OUT * windowBytes);
  const host = await startHost({ device: { statesBytes: budget } });
  assert.equal((await host.send("PUT", STATES, creation)).status, 201);
  await assertProblem(await host.send("POST", COLLECT, pruning), "too_large");
  // The outputs of the dense block for the held-out windows have no room beside a body that takes nearly the whole budget.
  const padding = " ".repeat(budget - statesBytes - pruning.length - 100);
  const long = encode(block, { ...layers({ [layerName]: { sparsity: 0.5 } }), padding });
  assert.ok(long.length <= budget - statesBytes);
  await assertProblem(await host.send("POST", PRUNE, long), "too_large");
  assert.equal((await host.send("POST", PRUNE, pruning)).status, 200);
  await host.close();
});
