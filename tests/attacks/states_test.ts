/**
 * A host refuses hidden states and blocks whose metadata are hostile, soon and without much memory, and answers health
 * checks meanwhile. The attacks use the API as any client may that has a key.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Host, serve } from "../../routes/serve.ts";
import { MAX_WINDOWS } from "../../src/protocol/limits.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import {
  block,
  config,
  embedding,
  given,
  ids,
  layerName,
  metadata,
  PRUNE,
  pruning,
  STATES,
} from "../routes/block_bodies.ts";
import { safetensorsHeaders } from "../routes/host.ts";
import { printCosts, withinBounds } from "./bounds.ts";

/** The time within which `/healthz` must answer while a client attacks. */
const HEALTH_MILLISECONDS = 500;

/** The longest detail of a problem, in characters. */
const MAX_DETAIL_CHARACTERS = 1000;

const MIB = 2 ** 20, MILLION = 1_000_000;
const numbered = (count: number, entry: (number: number) => string) =>
  Array.from({ length: count }, (_, i) => entry(i));
const list = (count: number, item: string) => `[${Array(count).fill(item)}]`;
const withConfig = (changes: object) => JSON.stringify({ ...config, ...changes });
const QWEN = {
  ...{ model_type: "qwen2", hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1 },
  ...{ num_attention_heads: 2, num_key_value_heads: 2, vocab_size: 20, max_position_embeddings: 12 },
};

interface Attack {
  /** Completes the sentence "A host refuses …". */
  readonly name: string;
  readonly path?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly windows?: number;
  /** The code of the answer, and a pattern of its detail. */
  readonly code: string;
  readonly detail: RegExp;
}

const STATES_ATTACKS: readonly Attack[] = [
  ...[
    ["100,000 empty lists as names", list(100_000, "[]"), /^names\.0: Invalid input/],
    ["500,000 numbers as names", list(500_000, "0"), /^names: has more than 262144 values/],
    ["a long name", JSON.stringify(["x".repeat(MIB / 2)]), /^names\.0: Too big/],
    ["32,768 wrong names", list(32_768, "0"), /^names\.0: Invalid input/],
    ["100,000 names", list(100_000, '"x"'), /^names: Too big/],
    ["an object as names", "{}", /^names: Invalid input/],
  ].map(([name, names, detail]) => ({
    name: `states with ${name}`,
    metadata: { ...metadata, names: names as string },
    code: "invalid_parameter",
    detail: detail as RegExp,
  })),
  {
    name: "states with 15 MiB of names",
    metadata: { ...metadata, names: list(5 * MILLION, "[]") },
    code: "malformed_safetensors",
    detail: /is above the limit of 1048576 bytes/,
  },
  {
    name: "states of a model with 300,000 wrong types of layers",
    metadata: { config: withConfig({ ...QWEN, layer_types: Array(300_000).fill(0) }) },
    code: "invalid_parameter",
    detail: /^config: (has more than 262144 values|config.json: layer_types\.0: Invalid)/,
  },
  {
    name: "states of a model whose type is long",
    metadata: { config: withConfig({ model_type: "x".repeat(MIB / 2) }) },
    code: "invalid_parameter",
    detail: /^config: config.json: model_type "x{100,}…$/,
  },
  {
    name: "states of a model with a million blocks",
    metadata: { config: withConfig({ ...QWEN, num_hidden_layers: MILLION }) },
    code: "invalid_parameter",
    detail: /^config: describes 1000000 blocks/,
  },
  {
    name: "states with a million windows of one token",
    windows: MIB,
    code: "shape_mismatch",
    detail: new RegExp(`at most ${MAX_WINDOWS} windows`),
  },
];

const BLOCK_ATTACKS: readonly Attack[] = [
  ...([
    [
      "with 1,000 names of layers",
      `{${numbered(1000, (i) => `"t${i}":{}`)}}`,
      /^layers: has more than \d+ keys/,
    ],
    [
      "with 100,000 names of layers",
      `{${numbered(100_000, (i) => `"t${i}":{}`)}}`,
      /^layers: has more than \d+ keys/,
    ],
    ["with a layer of another block", '{"x":{}}', /^layers\.x: is not a linear layer of block 0$/],
    ["with the layer __proto__", '{"__proto__":{}}', /^layers\.__proto__: is not a linear layer of block 0$/],
    [
      "with the layer constructor",
      '{"constructor":{}}',
      /^layers\.constructor: is not a linear layer of block 0$/,
    ],
    ["with a list of layers", "[]", /^layers: must be an object/],
  ] as const).map(([name, layers, detail]) => ({
    name: `a block ${name}`,
    path: PRUNE,
    metadata: { layers },
    code: "invalid_parameter",
    detail,
  })),
  {
    name: "a block with a million layers",
    path: PRUNE,
    metadata: { layers: `{${numbered(MILLION, (i) => `"t${i}":{}`)}}` },
    code: "malformed_safetensors",
    detail: /is above the limit of \d+ bytes/,
  },
  {
    name: "a block with 200,000 unknown parameters",
    path: PRUNE,
    metadata: {
      layers: `{${JSON.stringify(layerName)}:{${numbered(200_000, (i) => `"p${i}":1`)}}}`,
    },
    code: "invalid_parameter",
    detail: /^layers: has more than \d+ keys/,
  },
];

describe("a host, given hostile metadata,", () => {
  let host: Host;
  before(async () => {
    host = await serve({ backend: "cpu", port: 0, log: () => {} });
    assert.equal((await send(STATES, encode({ windows: given, ...embedding }, metadata))).status, 201);
  });
  after(async () => {
    await host.shutdown();
    printCosts();
  });

  const send = (path: string, body: Uint8Array<ArrayBuffer>) =>
    fetch(host.url + path, {
      method: path.startsWith("/v1/states") ? "PUT" : "POST",
      body,
      headers: safetensorsHeaders(body.length),
    });

  /** Runs `work` while `/healthz` is asked again and again. It may be late in two of three attempts, because a machine may be shared. */
  async function answersHealthChecks(
    work: () => Promise<void>,
    run = (task: () => Promise<void>) => task(),
  ): Promise<void> {
    const latest: number[] = [];
    while (latest.length < 3 && latest.every((milliseconds) => milliseconds > HEALTH_MILLISECONDS)) {
      let longest = 0, isOver = false;
      const done = run(work).finally(() => void (isOver = true));
      done.catch(() => {}); // `await done` reports the error
      while (!isOver) {
        const start = performance.now();
        await (await fetch(`${host.url}/healthz`)).text();
        longest = Math.max(longest, performance.now() - start);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      await done;
      latest.push(longest);
    }
    assert.ok(Math.min(...latest) <= HEALTH_MILLISECONDS, `the health checks took up to ${latest} ms`);
  }

  for (
    const { name, path = STATES, metadata: texts = metadata, windows, code, detail } of [
      ...STATES_ATTACKS,
      ...BLOCK_ATTACKS,
    ]
  ) {
    it(`refuses ${name}`, async () => {
      const tensors = path === PRUNE ? block : {
        windows: windows === undefined ? given : ids([windows, 1], new Uint32Array(windows)),
        ...embedding,
      };
      const body = encode(tensors, texts);
      await answersHealthChecks(async () => {
        const response = await send(path, body), problem = await response.json();
        assert.equal(problem.code, code, JSON.stringify(problem).slice(0, 500));
        assert.match(problem.detail, detail);
        assert.ok(problem.detail.length <= MAX_DETAIL_CHARACTERS, `${problem.detail.length} characters`);
      }, (attack) => withinBounds(attack, name));
    });
  }

  it("answers health checks while it creates as many states as a request may have", async () => {
    const windows = ids([MAX_WINDOWS, 1], new Uint32Array(MAX_WINDOWS));
    await answersHealthChecks(async () => {
      const response = await send("/v1/states/many", encode({ windows, ...embedding }, metadata));
      assert.equal(response.status, 201, await response.text());
    });
  });

  it("then prunes the block of the earlier states", async () => {
    const response = await send(PRUNE, pruning);
    assert.equal(response.status, 200, await response.text());
  });
});
