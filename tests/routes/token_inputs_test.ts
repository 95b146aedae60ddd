/** Tests the states of a small Gemma 4 E2B, whose blocks have inputs of tokens, and read the keys and values of others. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decodeBlock } from "../../src/client/blocks/block_answer.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { blockTensors, embeddingTensors } from "../../src/model/families/check_tensors.ts";
import { Forward } from "../../src/model/forward.ts";
import { checkWindows } from "../../src/host/blocks/read_windows.ts";
import { countStatesBytes } from "../../src/model/hidden_states/hidden_states.ts";
import { countColumns } from "../../src/model/hidden_states/state_columns.ts";
import { MAX_TOKEN_IDS } from "../../src/protocol/limits.ts";
import { weightName } from "../../src/prune/block_plan.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { assertSame } from "../support/assert_same.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";
import { assertProblem } from "./assert_problem.ts";
import { ids, layers, objectBytesOf, STATES, tensorsOf } from "./block_bodies.ts";
import { BUDGET, createEvicted, filesIn, withHosts } from "./folder_hosts.ts";
import { safetensorsHeaders, startHost, type TestHost } from "./host.ts";

const { weights, windows: given, variants: [{ config, model }] } = await readFamilyFixture("gemma4_text_e2b");
const { spec } = model, metadata = { config: JSON.stringify(config) };
const windows = given.map((window) => window.slice(0, 5)), TOKENS = windows[0].length;
/** The distinct ids in another order than that of their values. */
const tokenIds = [...new Set(windows.flatMap((window) => [...window]))].toReversed();
const flat = ids([windows.length, TOKENS], windows.flatMap((window) => [...window]));

/** Returns the rows `tokenIds` of a matrix in bfloat16. */
function rowsOf({ dtype, shape: [, cols], data }: HostTensor): HostTensor {
  const rows = tokenIds.map((id) => data.subarray(2 * cols * id, 2 * cols * (id + 1)));
  return { dtype, shape: [rows.length, cols], data: Uint8Array.from(rows.flatMap((row) => [...row])) };
}

const whole = await tensorsOf(embeddingTensors(spec), weights);
const tables = [spec.embedding.tokens, spec.tokenInputs!.table];
const embedding = {
  ...whole,
  ...Object.fromEntries(tables.map((name) => [name, rowsOf(whole[name])])),
};
const token_ids = ids([tokenIds.length], tokenIds), tensors = { windows: flat, token_ids, ...embedding };
const creation = encode(tensors, metadata);

/** Prunes every layer of a block, and returns the weights. */
async function prune(host: TestHost, block: number): Promise<readonly HostTensor[]> {
  const names = spec.block(block).groups.flat().map((linear) => weightName(spec, block, linear));
  const queries = Object.fromEntries(names.map((name) => [name, { sparsity: 0.5 }]));
  const body = encode(await tensorsOf(blockTensors(spec, block), weights), layers(queries));
  const answer = await host.send("POST", `/v1/blocks?states=run&block=${block}`, body);
  assert.equal(answer.status, 200);
  return decodeBlock(await answer.bytes()).layers.map(({ weight }) => weight);
}

/** Runs the states through a dense block. */
async function run(host: TestHost, block: number): Promise<void> {
  const body = encode(await tensorsOf(blockTensors(spec, block), weights));
  assert.equal((await host.send("POST", `/v1/blocks?states=run&block=${block}`, body)).status, 200);
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

it("PUT /v1/states gives the same bytes with the rows of some ids and with those of all", async () => {
  const host = await startHost(), { vocabSize } = spec;
  const all = ids([vocabSize], Array.from({ length: vocabSize }).keys().toArray());
  const results: unknown[] = [];
  for (const body of [creation, encode({ windows: flat, token_ids: all, ...whole }, metadata)]) {
    assert.equal((await host.send("PUT", `${STATES}?target=dense`, body)).status, 201);
    results.push(await prune(host, 0));
  }
  assertSame(results[1], results[0]);
  await host.close();
});

it("PUT /v1/states takes the states before a block that reads the keys and values of an earlier one", async () => {
  const host = await startHost(), LAST = 3;
  assert.equal((await host.send("PUT", STATES, creation)).status, 201);
  for (let block = 0; block < LAST; block++) await run(host, block);
  const expected = await prune(host, LAST);
  const body = encode({ hidden_states: await inputsOf(LAST), ...tensors }, metadata);
  const created = await host.send("PUT", `${STATES}?block=${LAST}`, body);
  assert.deepEqual(await created.json(), { next_block: LAST, windows: windows.length, tokens: TOKENS });
  assertSame(await prune(host, LAST), expected);
  await host.close();
});

it("states in the folder of a host have the inputs of tokens, and the shared keys and values", () =>
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

it("PUT /v1/states counts the inputs of tokens before it takes memory for them", async () => {
  const rowBytes = 4 * spec.blockCount * tokenIds.length * spec.tokenInputs!.size;
  const needed = countStatesBytes(spec, windows.length, TOKENS) + rowBytes + creation.length +
    objectBytesOf(creation);
  const tight = await startHost({ device: { statesBytes: needed } });
  assert.equal((await tight.send("PUT", STATES, creation)).status, 201);
  await tight.close();
  const small = await startHost({ device: { statesBytes: needed - 1 } });
  await assertProblem(await small.send("PUT", STATES, creation), "too_large", { limit: needed - 1 });
  await small.close();
  assert.ok(needed < BUDGET);
});

it("PUT /v1/states that is aborted computes no inputs of further blocks, and stores no states", async () => {
  let onBuffer = () => {}, buffers = 0;
  const host = await startHost({
    async open() {
      const backend = await createCpuBackend(), createBuffer = backend.createBuffer.bind(backend);
      return Object.assign(backend, {
        createBuffer(...given: Parameters<typeof createBuffer>) {
          buffers++;
          onBuffer();
          return createBuffer(...given);
        },
      });
    },
  });
  const live = host.liveBytes(), controller = new AbortController(), { signal } = controller;
  assert.equal((await host.send("PUT", STATES, creation)).status, 201);
  assert.equal((await host.request(STATES, { method: "DELETE" })).status, 204);
  const all = buffers;
  buffers = 0;
  onBuffer = () => controller.abort();
  const headers = safetensorsHeaders(creation.length);
  const answer = await host.request(STATES, { method: "PUT", body: creation, headers, signal });
  await assertProblem(answer, "truncated_body");
  assert.equal(spec.blockCount * buffers, all);
  assert.equal((await host.request(STATES)).status, 404);
  assert.equal(host.liveBytes(), live);
  await host.close();
});

it("checkWindows() refuses more token ids than the look-up of their rows has memory for", () => {
  const given = (name: string, shape: number[]) => ({ name, dtype: "U32", shape, begin: 0, end: 0 }) as const;
  const check = (count: number) =>
    checkWindows([given("windows", [1, TOKENS]), given("token_ids", [count])], {
      ...spec,
      vocabSize: 2 ** 40,
    });
  assert.equal(check(MAX_TOKEN_IDS).ids, MAX_TOKEN_IDS);
  assert.throws(
    () => check(MAX_TOKEN_IDS + 1),
    /token_ids: expected U32 \[ids\] with at most 1048576 token ids/,
  );
});

it("PUT /v1/states refuses token ids and states that do not fit", async () => {
  const host = await startHost(), live = host.liveBytes(), hidden_states = await inputsOf(1);
  const { token_ids: _, ...withoutIds } = tensors, { length } = tokenIds;
  const [rows, cols] = [windows.length * TOKENS, spec.hiddenSize];
  const narrow = {
    ...hidden_states,
    shape: [windows.length, TOKENS, cols],
    data: new Uint8Array(4 * rows * cols),
  };
  const fewer = ids([1, TOKENS], windows[0]);
  const cases: readonly (readonly [RegExp, Record<string, HostTensor>])[] = [
    [/token_ids: expected U32 \[ids\] with at most 29 token ids, got none/, withoutIds],
    [/token_ids: expected U32 \[ids\]/, { ...tensors, token_ids: ids([1, length], tokenIds) }],
    [/: expected F32, F16 or BF16 \[\d+,16\]/, {
      ...tensors,
      token_ids: ids([length - 1], tokenIds.slice(1)),
    }],
    [/token_ids: expected distinct token ids, got 1 repeated ones/, {
      ...tensors,
      token_ids: ids([length], tokenIds.with(0, tokenIds[1])),
    }],
    [/token_ids: expected token ids below 29, got 29/, {
      ...tensors,
      token_ids: ids([length], tokenIds.with(0, 29)),
    }],
    [/windows: expected token ids that token_ids has, got 28/, {
      ...tensors,
      windows: ids([1, 1], [28]),
    }],
    [/hidden_states: expected F32 \[windows, tokens, \d+\]/, { ...tensors, hidden_states: narrow }],
    [/windows: expected U32 \[windows, tokens\], got none/, { ...embedding, token_ids, hidden_states }],
    [
      /windows: expected the token ids of hidden_states, 2 windows and 0 held-out windows of 5 tokens, got 1 windows/,
      {
        ...tensors,
        windows: fewer,
        hidden_states,
      },
    ],
  ];
  assert.ok(!tokenIds.includes(28));
  for (const [detail, body] of cases) {
    const answer = await host.send("PUT", STATES, encode(body, metadata));
    assert.match((await assertProblem(answer, "shape_mismatch")).detail, detail);
  }
  assert.equal(host.liveBytes(), live);
  assert.equal((await host.request(STATES)).status, 404);
  await host.close();
});
