/**
 * Tests tasks about whole blocks. A first host prunes a model block by block. A second host continues after each block, with
 * the tensors and the results of the blocks before as its only knowledge, and must return the same bytes.
 */

import assert from "node:assert/strict";
import { after, beforeEach, describe, it } from "@std/testing/bdd";
import { decodeBlock, encodeBlock } from "../../src/protocol/blocks/block_answer.ts";
import { sha256 } from "../../src/protocol/digest.ts";
import { parseKeys } from "../../src/protocol/keys.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { assertSame } from "../support/assert_same.ts";
import { startHost } from "./host.ts";
import { codeOf, HOST_ID, SECRET, startTaskHosts } from "./task_hosts.ts";
import { modelFiles, solved } from "./block_task_files.ts";

/**
 * The family, the parameters of each layer, those of the block, and the target. The weights of llama are in bfloat16, to which
 * answers in F32 and scales are rounded. GPT-2 stores transposed weights.
 */
const MODELS: readonly (readonly [string, LayerQuery, Record<string, unknown>, string])[] = [
  ["llama", { sparsity: 0.5, dtype: "F32" }, {}, "none"],
  ["qwen3_moe", { pattern: "2:4" }, {}, "none"],
  ["gpt2", { pattern: "2:4" }, { reconstruct: 1 }, "dense"],
  ["llama", { sparsity: 0, bits: 4, symmetric: true }, { format: "pack-quantized" }, "none"],
];

const hosts = await startTaskHosts();
after(() => hosts.close());

describe("tasks about blocks", () => {
  let count = 0;
  beforeEach(() => hosts.resetStore());

  /** Sends a task about the states `name`, and returns the status and the code or the state of its answer. */
  async function send(name: string, members: Record<string, unknown>, to = hosts.host) {
    const response = await hosts.send({ id: `block-task-${++count}`, states: name, ...members }, { to });
    return response.ok ? [response.status, (await response.json()).state] : await codeOf(response);
  }
  const DONE = [200, "done"];
  const resultAt = (path: string) => ({ url: hosts.store.origin + path });

  for (const [family, query, parameters, target] of MODELS) {
    const what = JSON.stringify({ ...query, ...parameters, target });
    it(`give the same bytes at a host that continues ${family} with ${what}`, async () => {
      const files = await modelFiles(family, query), windows = await hosts.putBlob("/states", files.states);
      const blocks = await Promise.all(files.blocks.map((file, i) => hosts.putBlob(`/block-${i}`, file)));
      assert.ok(blocks.length >= 2);
      assert.deepEqual(await send("first", { windows, target }), DONE);
      for (const [index, block] of blocks.entries()) {
        const result = resultAt(`/result-${index}`);
        assert.deepEqual(await send("first", { index, block, result, parameters }), DONE);
      }
      for (const last of blocks.keys()) {
        assert.deepEqual(await send("second", { windows, target }, hosts.small), DONE);
        for (const [index, block] of blocks.slice(0, last).entries()) {
          const pruned = await hosts.putBlob(`/pruned-${index}`, hosts.store.blobs.get(`/result-${index}`)!);
          assert.deepEqual(await send("second", { index, block, pruned, parameters }, hosts.small), DONE);
        }
        const block = blocks[last], result = resultAt("/again");
        assert.deepEqual(await send("second", { index: last, block, result, parameters }, hosts.small), DONE);
        const [again, first] = ["/again", `/result-${last}`].map((path) => hosts.store.blobs.get(path)!);
        assertSame(solved(again), solved(first), `block ${last}`);
      }
      assert.deepEqual(await send("first", {}), DONE);
      assert.deepEqual(await send("first", {}), [404, "states_not_found"]);
      assert.deepEqual(await send("second", {}, hosts.small), DONE);
    });
  }

  it("are refused if the states, the files or the index do not fit", async () => {
    const files = await modelFiles("llama", { sparsity: 0.5 });
    const windows = await hosts.putBlob("/states", files.states);
    const block = await hosts.putBlob("/block", files.blocks[0]), result = resultAt("/result");
    const noBlock = await hosts.putBlob("/no-block", encode({}));
    const elsewhere = { url: "http://169.254.169.254/latest", sha256: block.sha256 };
    assert.deepEqual(await send("run", { index: 0, block, result }), [404, "states_not_found"]);
    assert.deepEqual(await send("run", { windows: { ...windows, sha256: block.sha256 } }), [
      409,
      "digest_mismatch",
    ]);
    assert.deepEqual(await send("run", { windows: block }), [400, "invalid_parameter"]);
    assert.deepEqual(await send("run", { windows }), DONE);
    const cases: readonly (readonly [Record<string, unknown>, number, string])[] = [
      [{ index: 1, block, result }, 404, "states_not_found"],
      [{ index: 99, block, result }, 400, "invalid_parameter"],
      [{ index: -1, block, result }, 400, "invalid_parameter"],
      [{ index: 0, block: noBlock, result }, 422, "shape_mismatch"],
      [{ index: 0, block: { ...block, sha256: windows.sha256 }, result }, 409, "digest_mismatch"],
      [{ index: 0, block: elsewhere, result }, 403, "forbidden"],
      [{ index: 0, block, result: { url: elsewhere.url } }, 403, "forbidden"],
      [{ index: 0, block, pruned: elsewhere }, 403, "forbidden"],
      [{ index: 0, block, pruned: noBlock }, 400, "malformed_safetensors"],
      [{ index: 99, block, pruned: noBlock }, 404, "states_not_found"],
      [{ index: 0, block, result, parameters: { states: "other" } }, 400, "invalid_parameter"],
      [{ index: 0, block, result, states: "../other" }, 400, "invalid_parameter"],
    ];
    for (const [members, status, code] of cases) {
      assert.deepEqual(await send("run", members), [status, code], JSON.stringify(members));
    }
    assert.deepEqual(await send("run", { index: 0, block, result }), DONE);

    const answer = decodeBlock(hosts.store.blobs.get("/result")!), [layer] = answer.layers;
    const fakes = [
      { ...layer, name: "x" },
      { ...layer, weight: { dtype: "F32", shape: [1, 1], data: new Uint8Array(4) } } as const,
    ].map((fake) => new Blob(encodeBlock({ layers: [fake] })));
    assert.deepEqual(await send("run", { windows }), DONE);
    for (const fake of fakes) {
      const pruned = await hosts.putBlob("/fake", await fake.bytes());
      assert.deepEqual(await send("run", { index: 0, block, pruned }), [422, "shape_mismatch"]);
    }
    const { blocks: [rounded] } = await modelFiles("llama", { bits: 4, sparsity: 0 });
    const withoutCodes = {
      block: await hosts.putBlob("/rounded", rounded),
      pruned: await hosts.putBlob("/sparse", hosts.store.blobs.get("/result")!),
      parameters: { format: "pack-quantized" },
    };
    assert.deepEqual(await send("run", { index: 0, ...withoutCodes }), [422, "shape_mismatch"]);
    assert.deepEqual(await send("run", { index: 0, block, result }), DONE);
  });

  it("are refused if their states or results exceed the limits of the host", async () => {
    const { states, blocks: [first] } = await modelFiles("llama", { sparsity: 0.5 });
    const windows = await hosts.putBlob("/states", states), block = await hosts.putBlob("/block", first);
    const edge = { secret: SECRET, hostId: HOST_ID, blobOrigins: [hosts.store.origin] };
    const little = await startHost({ edge, device: { statesBytes: 1000 } });
    assert.deepEqual(await send("run", { windows }, little), [413, "too_large"]);
    await little.close();
    const budget = 10 * states.length, narrow = await startHost({ edge, device: { statesBytes: budget } });
    assert.deepEqual(await send("run", { windows }, narrow), DONE);
    const pruned = await hosts.putBlob("/long", new Uint8Array(budget / 2 + 1));
    assert.deepEqual(await send("run", { index: 0, block, pruned }, narrow), [413, "too_large"]);
    await narrow.close();
  });

  for (const key of [undefined, "a-key"]) {
    it(`have states that no client of a host ${key ? "with" : "without"} keys can reach by their name`, async () => {
      const files = await modelFiles("llama", { sparsity: 0.5 }), result = resultAt("/result");
      const windows = await hosts.putBlob("/states", files.states);
      const block = await hosts.putBlob("/block", files.blocks[0]);
      const edge = { secret: SECRET, hostId: HOST_ID, blobOrigins: [hosts.store.origin] };
      const keys = key ? parseKeys((await sha256(new TextEncoder().encode(key))).toHex()) : [];
      const host = await startHost({ edge, keys }), path = "/v1/states/run";
      const headers = key ? { Authorization: `Bearer ${key}` } : undefined;
      assert.deepEqual(await send("run", { windows }, host), DONE);
      for (const method of ["GET", "DELETE"]) {
        assert.deepEqual(await codeOf(await host.request(path, { method, headers })), [
          404,
          "states_not_found",
        ]);
      }
      const { states: others } = await modelFiles(
        "llama",
        {},
        () => [[Uint32Array.of(1, 2), Uint32Array.of(3, 4)]],
      );
      assert.equal((await host.send("PUT", path, others, headers)).status, 201);
      assert.deepEqual(await send("run", { index: 0, block, result }, host), DONE);
      const disturbed = solved(hosts.store.blobs.get("/result")!);
      assert.deepEqual(await send("run", { windows }), DONE);
      assert.deepEqual(await send("run", { index: 0, block, result }), DONE);
      assertSame(disturbed, solved(hosts.store.blobs.get("/result")!));
      assert.equal((await host.request(path, { method: "DELETE", headers })).status, 204);
      assert.deepEqual(await send("run", {}, host), DONE);
      await host.close();
    });
  }
});
