/**
 * The edge refuses hostile requests with their documented problems. The edge is a Cloudflare Worker, the public server in front of hosts. Its
 * application is called here without the Workers runtime and without its storage, because no hostile request may reach the storage.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { createEdge } from "../../src/edge/app.ts";
import type { EdgeBindings } from "../../src/edge/bindings.ts";
import { sha256 } from "../../src/protocol/digest.ts";
import type { ProblemCode } from "../../src/protocol/problem_codes.ts";
import { assertProblem } from "../routes/assert_problem.ts";
import { printCosts, withinBounds } from "./bounds.ts";
import { type BytePart, bytesOf } from "./bytes.ts";
import { type AttackCase, readCorpus } from "./corpus.ts";

/** A request of the corpus. */
interface EdgeCase extends AttackCase {
  readonly method: string;
  readonly path: string;
  /** The body as JSON. */
  readonly json?: unknown;
  /** The body as text. */
  readonly text?: BytePart | readonly BytePart[];
  /** The header Content-Encoding. */
  readonly encoding?: string;
  /** A part of the reason in the answer. */
  readonly detail?: string;
  /** The header Authorization, in which names of keys stand for the keys. By default it has an accepted key. */
  readonly key?: string;
  readonly code: ProblemCode;
}

/** The keys of the edge, and the secret that it shares with its hosts. None of them may occur in an answer or in the log. */
const KEYS = { JOBS_KEY: "sesame-for-jobs-only", KEY: "sesame-with-every-scope" };
const SECRET = "sesame-that-only-hosts-have-12345678";

const digestOf = async (text: string) => (await sha256(new TextEncoder().encode(text))).toHex();

/** The longest answer in characters. It has room for 20 parameters with their reasons. */
const MAX_ANSWER_CHARACTERS = 16_384;

/** The longest detail of a problem, in characters. */
const MAX_DETAIL_CHARACTERS = 1000;

/** Runs `body`. Returns everything that it writes to the console, which is the log of a Worker. */
async function withLog(body: () => Promise<void>): Promise<string> {
  const lines: unknown[] = [], { log, error, warn } = console;
  console.log = console.error = console.warn = (...values: unknown[]) => void lines.push(...values);
  try {
    await body();
  } finally {
    Object.assign(console, { log, error, warn });
  }
  return lines.map(String).join("\n");
}

describe("the edge, given a hostile request,", () => {
  const edge = createEdge();
  let digest: string, env: EdgeBindings;
  before(async () => {
    digest = await digestOf(KEYS.KEY);
    env = {
      PARE_KEYS: `${digest},${await digestOf(KEYS.JOBS_KEY)}:jobs`,
      EDGE_HOST_SECRET: SECRET,
      HOSTS: { getByName: () => ({}) },
    } as unknown as EdgeBindings;
  });

  async function send(
    { method, path, json, text, encoding, key = "Bearer KEY" }: EdgeCase,
  ): Promise<Response> {
    const content = text === undefined ? json === undefined ? undefined : JSON.stringify(json) : text;
    const body = content === undefined ? undefined : bytesOf(content), headers = new Headers();
    const secrets: Record<string, string> = { ...KEYS, DIGEST: digest };
    if (key !== "") {
      headers.set("Authorization", key.replace(/JOBS_KEY|KEY|DIGEST/g, (name) => secrets[name]));
    }
    if (body) {
      headers.set("Content-Type", "application/json");
      headers.set("Content-Length", String(body.length));
      if (encoding !== undefined) headers.set("Content-Encoding", encoding);
    }
    return await edge.request(path, { method, headers, body }, env);
  }

  function assertNoSecret(text: string): void {
    for (const secret of [...Object.values(KEYS), digest, SECRET]) {
      assert.ok(!text.includes(secret), "a secret is in the answer or in the log");
    }
  }

  after(printCosts);

  for (const attack of readCorpus<EdgeCase>("edge")) {
    it(`refuses ${attack.name}`, async () => {
      await withinBounds(async () => {
        const log = await withLog(async () => {
          const response = await send(attack), text = await response.clone().text();
          const code = response.ok ? "none" : JSON.parse(text).code;
          assert.equal(code, attack.code, text.slice(0, 500));
          if (attack.detail !== undefined) assert.ok(text.includes(attack.detail), text);
          await assertProblem(response, attack.code);
          assertNoSecret(text + JSON.stringify([...response.headers]));
          assert.ok(text.length <= MAX_ANSWER_CHARACTERS, `the answer has ${text.length} characters`);
          const { detail } = JSON.parse(text);
          assert.ok(detail.length <= MAX_DETAIL_CHARACTERS, `the detail has ${detail.length} characters`);
        });
        assertNoSecret(log);
      }, attack.name);
    });
  }
});
