/** Tests `/v1/states` and `/v1/blocks`: what they store, what they refuse before they use the device, and whose states they are. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { decodeBlock } from "../../src/protocol/blocks/block_answer.ts";
import { PROBE_ROWS } from "../../src/protocol/blocks/block_names.ts";
import { sha256 } from "../../src/protocol/digest.ts";
import { parseKeys } from "../../src/protocol/keys.ts";
import type { ProblemCode } from "../../src/protocol/problem_codes.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { assertProblem } from "./assert_problem.ts";
import {
  block,
  config,
  creation,
  embedding,
  firstName,
  given,
  ids,
  layer,
  layerName,
  layers,
  metadata,
  objectBytesOf,
  PRUNE,
  pruning,
  spec,
  STATES,
  TOKENS,
  windows,
} from "./block_bodies.ts";
import { safetensorsHeaders, startHost } from "./host.ts";
import { assertSame } from "../support/assert_same.ts";

const host = await startHost();
const live = host.liveBytes();
after(() => host.close());

describe("/v1/states and /v1/blocks", () => {
  it("creates states, prunes a block, repeats its answer, and deletes the states", async () => {
    assert.equal((await host.request(STATES)).status, 404);
    const described = { next_block: 0, windows: windows.length, tokens: TOKENS };
    const created = await host.send("PUT", STATES, creation);
    assert.deepEqual([created.status, await created.json()], [201, described]);
    const prune = async () => {
      const answer = await host.send("POST", PRUNE, pruning);
      assert.equal(answer.status, 200);
      return new Uint8Array(await answer.arrayBuffer());
    };
    const body = await prune(), [pruned] = decodeBlock(body).layers;
    assert.deepEqual([pruned.name, pruned.report.sparsity], [layerName, 0.5]);
    assert.deepEqual(pruned.weight.shape, [layer.outFeatures, layer.inFeatures]);
    assert.deepEqual(pruned.mask.shape, [layer.outFeatures, Math.ceil(layer.inFeatures / 8)]);
    assert.deepEqual(pruned.probe?.shape, [PROBE_ROWS, layer.inFeatures]);
    assert.deepEqual(await (await host.request(STATES)).json(), { ...described, next_block: 1 });
    const { dispatches } = host.device.session().backend.counters;
    assertSame(await prune(), body);
    assert.equal(host.device.session().backend.counters.dispatches, dispatches);
    await assertProblem(await host.send("POST", PRUNE, encode(block)), "states_not_found");
    assert.equal((await host.request(STATES, { method: "DELETE" })).status, 204);
    await assertProblem(await host.request(STATES, { method: "DELETE" }), "states_not_found");
    await assertProblem(await host.send("POST", PRUNE, pruning), "states_not_found");
    assert.equal(host.liveBytes(), live);
  });

  const wrong: readonly (readonly [string, ProblemCode, Uint8Array<ArrayBuffer>])[] = [
    ["no configuration", "invalid_parameter", encode({ windows: given, ...embedding })],
    ["a configuration that is not JSON", "invalid_parameter", encode({ windows: given }, { config: "{" })],
    [
      "a configuration that is not an object",
      "invalid_parameter",
      encode({ windows: given }, { config: "7" }),
    ],
    ["an unknown family", "invalid_parameter", encode({ windows: given }, { config: '{"model_type":"x"}' })],
    [
      "a configuration with too many blocks",
      "invalid_parameter",
      encode({ windows: given, ...embedding }, { config: JSON.stringify({ ...config, n_layer: 1e12 }) }),
    ],
    [
      "a configuration of another size",
      "shape_mismatch",
      encode({ windows: given, ...embedding }, { config: JSON.stringify({ ...config, vocab_size: 7 }) }),
    ],
    ["no windows", "shape_mismatch", encode(embedding, metadata)],
    [
      "windows without tokens",
      "shape_mismatch",
      encode({ windows: ids([1, 0], []), ...embedding }, metadata),
    ],
    [
      "windows of one dimension",
      "shape_mismatch",
      encode({ windows: ids([4], [1, 2, 3, 4]), ...embedding }, metadata),
    ],
    [
      "windows that are longer than the model allows",
      "shape_mismatch",
      encode({ windows: ids([1, 5000], new Uint32Array(5000)), ...embedding }, metadata),
    ],
    [
      "held-out windows of another length",
      "shape_mismatch",
      encode({ windows: given, validation_windows: ids([1, 2], [1, 2]), ...embedding }, metadata),
    ],
    [
      "a token that is not in the vocabulary",
      "shape_mismatch",
      encode({ windows: ids([1, 1], [spec.vocabSize]), ...embedding }, metadata),
    ],
    ["no table of tokens", "shape_mismatch", encode({ windows: given }, metadata)],
    ["an unknown tensor", "shape_mismatch", encode({ windows: given, x: given, ...embedding }, metadata)],
    ["a body that is cut off", "truncated_body", creation.slice(0, -1)],
  ];
  for (const [what, code, body] of wrong) {
    it(`refuses states with ${what}`, async () => {
      await assertProblem(await host.send("PUT", STATES, body), code);
      assert.equal(host.liveBytes(), live);
      assert.equal((await host.request(STATES)).status, 404);
    });
  }

  it("refuses names that are not safe in a path", async () => {
    for (const name of ["a%2Fb", "a%20b", "a".repeat(65)]) {
      await assertProblem(await host.send("PUT", `/v1/states/${name}`, creation), "invalid_parameter");
    }
  });

  const { [firstName]: _first, ...others } = block;
  const badBlocks: readonly (readonly [string, ProblemCode, string, Uint8Array<ArrayBuffer>])[] = [
    ["an index after the last block", "invalid_parameter", "&block=99", pruning],
    ["a negative index", "invalid_parameter", "&block=-1", pruning],
    ["states before another block", "states_not_found", "&block=1", pruning],
    ["an unknown parameter", "invalid_parameter", "&block=0&sparsity=0.5", pruning],
    ["a missing tensor", "shape_mismatch", "&block=0", encode(others)],
    ["an unknown tensor", "shape_mismatch", "&block=0", encode({ ...block, x: given })],
    [
      "replaced tensors beside layers",
      "shape_mismatch",
      "&block=0",
      encode({ ...block, [`pruned.${layerName}`]: block[layerName] }, layers({ [layerName]: {} })),
    ],
    ["a tensor of another shape", "shape_mismatch", "&block=0", encode({ ...others, [firstName]: given })],
    ["layers that are not JSON", "invalid_parameter", "&block=0", encode(block, { layers: "{" })],
    ["layers that are a list", "invalid_parameter", "&block=0", encode(block, layers([1]))],
    ["an unknown layer", "invalid_parameter", "&block=0", encode(block, layers({ x: {} }))],
    [
      "an unknown parameter of a layer",
      "invalid_parameter",
      "&block=0",
      encode(block, layers({ [layerName]: { x: 1 } })),
    ],
    [
      "a layer that would lose columns",
      "invalid_parameter",
      "&block=0",
      encode(block, layers({ [layerName]: { method: "obc", pattern: "columns" } })),
    ],
    ["a parameter of another step", "invalid_parameter", "&block=0&targets=false", pruning],
    ["a body that is cut off", "truncated_body", "&block=0", pruning.slice(0, -1)],
  ];
  it("refuses blocks that do not fit, and keeps the states", async () => {
    assert.equal((await host.send("PUT", STATES, creation)).status, 201);
    const before = host.liveBytes();
    for (const [what, code, query, body] of badBlocks) {
      const response = await host.send("POST", `/v1/blocks/prune?states=run${query}`, body);
      assert.equal(response.status === 200, false, what);
      await assertProblem(response, code);
      assert.equal(host.liveBytes(), before, what);
    }
    const { next_block } = await (await host.request(STATES)).json();
    assert.equal(next_block, 0);
    await host.request(STATES, { method: "DELETE" });
  });

  it("names the layer that cannot be pruned, and keeps the states, which have not changed", async () => {
    const broken = { ...block[layerName], data: new Uint8Array(block[layerName].data.length).fill(0xff) };
    const body = encode({ ...block, [layerName]: broken }, layers({ [layerName]: {} }));
    await host.send("PUT", STATES, creation);
    const { detail } = await assertProblem(await host.send("POST", PRUNE, body), "non_finite");
    assert.ok(detail.includes(layerName), detail);
    assert.equal((await host.send("POST", PRUNE, pruning)).status, 200);
    await host.request(STATES, { method: "DELETE" });
    assert.equal(host.liveBytes(), live);
  });

  it("keeps the states if others cannot take their place", async () => {
    await host.send("PUT", STATES, creation);
    assert.equal((await host.send("POST", PRUNE, pruning)).status, 200);
    await assertProblem(await host.send("PUT", STATES, creation.slice(0, -1)), "truncated_body");
    assert.equal((await (await host.request(STATES)).json()).next_block, 1);
    await host.request(STATES, { method: "DELETE" });
  });

  it("names the tensor whose token is not in the vocabulary", async () => {
    const validation_windows = ids([1, TOKENS], new Uint32Array(TOKENS).fill(spec.vocabSize));
    const body = encode({ windows: given, validation_windows, ...embedding }, metadata);
    await assertProblem(await host.send("PUT", STATES, body), "shape_mismatch", {
      tensor: "validation_windows",
    });
  });
});

it("POST /v1/blocks/prune that is aborted leaves no work behind, and continues to its end once the states change", async () => {
  let onBuffer = () => {};
  const host = await startHost({
    async open() {
      const backend = await createCpuBackend();
      return new Proxy(backend, {
        get(target, key) {
          if (key === "createBuffer") onBuffer();
          const value = Reflect.get(target, key);
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
    },
  });
  const live = host.liveBytes();
  const prune = async (controller = new AbortController()) => {
    const { signal } = controller;
    const headers = safetensorsHeaders(pruning.length);
    return await host.request(PRUNE, { method: "POST", body: pruning, headers, signal });
  };
  let buffers = 0;
  await host.send("PUT", STATES, creation);
  onBuffer = () => void buffers++;
  const expected = await (await prune()).bytes(), nextBlocks = new Set<number>();
  for (const abortedAt of [1, Math.floor(buffers / 4), Math.floor(buffers / 2), buffers]) {
    const controller = new AbortController();
    await host.send("PUT", STATES, creation);
    let count = 0;
    onBuffer = () => ++count === abortedAt && controller.abort();
    const answer = await prune(controller), { next_block } = await (await host.request(STATES)).json();
    if (next_block === 0) await assertProblem(answer, "truncated_body");
    else await answer.body?.cancel();
    assert.equal(host.liveBytes(), live, `buffer ${abortedAt} of ${buffers}`);
    nextBlocks.add(next_block);
    assertSame(weightOf(await (await prune()).bytes()), weightOf(expected));
  }
  assert.deepEqual(nextBlocks, new Set([0, 1]));
  await host.close();
});

function weightOf(body: Uint8Array<ArrayBuffer>): HostTensor {
  return decodeBlock(body).layers[0].weight;
}

describe("the states of a host", () => {
  it("belong to the API key that created them", async () => {
    const digests = await Promise.all(
      ["one", "two"].map(async (key) => (await sha256(new TextEncoder().encode(key))).toHex()),
    );
    const host = await startHost({ keys: parseKeys(digests.map((digest) => `${digest}:solve`).join()) });
    const headers = (key: string) => ({ Authorization: `Bearer ${key}` });
    assert.equal((await host.send("PUT", STATES, creation, headers("one"))).status, 201);
    await assertProblem(await host.request(STATES, { headers: headers("two") }), "states_not_found");
    await assertProblem(await host.send("POST", PRUNE, pruning, headers("two")), "states_not_found");
    await assertProblem(
      await host.request(STATES, { method: "DELETE", headers: headers("two") }),
      "states_not_found",
    );
    assert.equal((await host.send("PUT", STATES, creation, headers("two"))).status, 201);
    assert.equal((await host.send("POST", PRUNE, pruning, headers("two"))).status, 200);
    const { next_block } = await (await host.request(STATES, { headers: headers("one") })).json();
    assert.equal(next_block, 0);
    await assertProblem(await host.request(STATES), "unauthorized");
    await host.close();
  });

  it("are evicted in the order of their last use, and refused if they exceed the budget", async () => {
    const statesBytes = windows.length * TOKENS * spec.hiddenSize * 4 + objectBytesOf(creation),
      created = statesBytes + creation.length;
    const host = await startHost({ device: { statesBytes: statesBytes + created } });
    const create = async (name: string) => {
      assert.equal((await host.send("PUT", `/v1/states/${name}`, creation)).status, 201);
    };
    const stored = async () => {
      const statuses = await Promise.all(["a", "b", "c"].map((name) => host.request(`/v1/states/${name}`)));
      return statuses.map(({ status }) => status);
    };
    await create("a");
    await create("b");
    await create("a");
    await create("c");
    assert.deepEqual(await stored(), [200, 404, 200]);
    await host.close();
    const small = await startHost({ device: { statesBytes: created - 1 } });
    await assertProblem(await small.send("PUT", STATES, creation), "too_large", { limit: created - 1 });
    await small.close();
    const tight = await startHost({ device: { statesBytes: created } });
    assert.equal((await tight.send("PUT", STATES, creation)).status, 201);
    const metadata = { padding: " ".repeat(creation.length), ...layers({ [layerName]: {} }) };
    await assertProblem(await tight.send("POST", PRUNE, encode(block, metadata)), "too_large", {
      limit: creation.length,
    });
    assert.equal((await tight.request(STATES)).status, 200);
    await tight.close();
  });
});
