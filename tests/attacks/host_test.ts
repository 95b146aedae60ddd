/**
 * A host answers every hostile request of the corpus with its documented problem, soon and without much memory. After each one, it answers a
 * good request with the right bytes. Neither the answer nor the log contains a key.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { type Key, parseKeys } from "../../src/protocol/keys.ts";
import type { ProblemCode } from "../../src/protocol/problem_codes.ts";
import { assertProblem } from "../routes/assert_problem.ts";
import { answerOf, safetensorsHeaders, startHost, type TestHost } from "../routes/host.ts";
import { withinBounds } from "./bounds.ts";
import { type AttackCase, readCorpus } from "./corpus.ts";
import { type BodyCase, GOOD_BODY, makeBody } from "./layer_bodies.ts";
import { SAFETENSORS_ATTACKS } from "./safetensors_files.ts";

/** A request of the corpus. The default is a good layer with an accepted key. */
interface RequestCase extends AttackCase {
  readonly method?: string;
  /** The path with its query. `OWN` stands for the digest of the body, and `DIGITS` for 50,000 digits. */
  readonly path: string;
  /** Headers that replace those of a good request. Null removes a header. */
  readonly headers?: Readonly<Record<string, string | null>>;
  /** The header Authorization, in which names of keys stand for the keys. */
  readonly key?: string;
  readonly body?: BodyCase;
  readonly code: ProblemCode;
  /** A pattern that the detail of the problem must match. */
  readonly detail?: string;
  /** The names of the invalid parameters. */
  readonly parameters?: readonly string[];
}

/** The keys of the host. None of them may occur in an answer or in the log. */
const KEYS = { SOLVE_KEY: "sesame-for-solving-layers-only", KEY: "sesame-with-every-scope" };

const REQUESTS: readonly RequestCase[] = [
  ...["query", "bodies", "requests"].flatMap((subject) => readCorpus<RequestCase>(subject)),
  ...SAFETENSORS_ATTACKS.map(({ name, kind, file }) => ({
    name: `a layer that is ${name}`,
    path: "/v1/layers",
    body: { file: [{ hex: file().toHex() }] },
    code: kind === "malformed" ? "malformed_safetensors" as const : "truncated_body" as const,
  })),
];

async function makeKeys(): Promise<Key[]> {
  const digests = await Promise.all(
    [KEYS.KEY, KEYS.SOLVE_KEY].map((key) => sha256(new TextEncoder().encode(key))),
  );
  return parseKeys(`${digests[0].toHex()},${digests[1].toHex()}:solve`);
}

describe("a host, given a hostile request,", () => {
  let host: TestHost, digest: string, good: Uint8Array;

  /** Sends a good layer, and returns the bytes of the answered tensors. */
  async function solveGoodLayer(): Promise<Uint8Array> {
    const headers = { Authorization: `Bearer ${KEYS.KEY}` };
    const { weight, mask } = await answerOf(
      await host.send("POST", "/v1/layers", makeBody(GOOD_BODY), headers),
    );
    return Uint8Array.from([...weight.data, ...mask.data]);
  }

  before(async () => {
    const keys = await makeKeys();
    digest = keys[0].digest.toHex();
    host = await startHost({ keys, limits: { maxBodyBytes: 2 ** 30 } });
    good = await solveGoodLayer();
  });
  after(() => host.close());

  async function send(
    { method = "POST", path, headers = {}, key, body = GOOD_BODY }: RequestCase,
  ): Promise<Response> {
    const bytes = makeBody(body), sent = safetensorsHeaders(bytes.length);
    const names = /SOLVE_KEY|KEY|DIGEST/g, secrets: Record<string, string> = { ...KEYS, DIGEST: digest };
    sent.set("Authorization", (key ?? "Bearer KEY").replace(names, (name) => secrets[name]));
    if (key === "") sent.delete("Authorization");
    for (const [name, value] of Object.entries(headers)) {
      if (value === null) sent.delete(name);
      else sent.set(name, value);
    }
    const own = formatDigest(await sha256(bytes));
    return await host.request(path.replace("OWN", own).replace("DIGITS", "1".repeat(50_000)), {
      method,
      headers: sent,
      body: method === "GET" ? undefined : bytes,
    });
  }

  /** Fails if a key or its digest is in `text`. */
  function assertNoSecret(text: string): void {
    for (const secret of [...Object.values(KEYS), digest]) {
      assert.ok(!text.includes(secret), "a key is in the answer or in the log");
    }
  }

  async function assertRefused(attack: RequestCase): Promise<void> {
    const response = await send(attack), text = await response.clone().text();
    assert.equal(response.ok ? "none" : JSON.parse(text).code, attack.code, text);
    assertNoSecret(text + JSON.stringify([...response.headers]));
    const { detail, errors = [] } = await assertProblem(response, attack.code);
    if (attack.detail) assert.match(detail, new RegExp(attack.detail));
    if (attack.parameters) {
      assert.deepEqual([...new Set(errors.map(({ parameter }) => parameter))], attack.parameters);
    }
    assert.ok(text.length < 16_384, `the answer has ${text.length} characters`);
  }

  for (const attack of REQUESTS) {
    it(`refuses ${attack.name}`, async () => {
      host.records.length = 0;
      await withinBounds(() => assertRefused(attack));
      assertNoSecret(JSON.stringify(host.records));
      assert.deepEqual(
        await solveGoodLayer(),
        good,
        "the next good request must be answered with the same bytes",
      );
    });
  }

  it("holds no device memory after all of them", () => assert.equal(host.liveBytes(), 0));
});
