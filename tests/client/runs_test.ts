import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { MalformedAnswerError, Pare, type Run } from "../../src/client/mod.ts";

const RUN: Run = {
  ...{ id: "1".repeat(32), model: "a/b", options: [], state: "queued", created: "2026-01-01T00:00:00Z" },
  ...{ plan: null, progress: null, result: null, error: null },
};

/** Returns a client, and the requests that it has sent. Each request gets the next answer. */
function clientOf(...answers: readonly ((request: Request) => Response)[]) {
  const requests: Request[] = [];
  const application = (request: Request) => answers[requests.push(request) - 1](request);
  return { pare: new Pare({ baseUrl: "http://host", application, backoffMs: 1 }), requests };
}

const json = (state: Run["state"]) => () => Response.json({ ...RUN, state });

describe("Runs", () => {
  it("starts a run with its options, and follows it to its end", async () => {
    const { pare, requests } = clientOf(json("queued"), json("running"), json("done"));
    const request = { model: "a/b", for: "gguf:q4_0", sparsity: 0.5 };
    const { id } = await pare.runs.create(request, { idempotencyKey: "k" });
    const seen = await Array.fromAsync(pare.runs.follow(id, { pollMs: 1 }), ({ state }) => state);
    assert.deepEqual(seen, ["running", "done"]);
    assert.deepEqual(await requests[0].json(), request);
    assert.equal(requests[0].headers.get("Idempotency-Key"), "k");
    assert.equal(requests[0].headers.get("Content-Type"), "application/json");
  });

  it("downloads a file in pieces, and repeats the piece that fails", async () => {
    const whole = Uint8Array.from({ length: 2 ** 24 + 5 }, (_, i) => i % 251);
    const ranged = (request: Request) => {
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.get("Range")!)!;
      return new Response(whole.slice(Number(from), Number(to) + 1), { status: 206 });
    };
    const { pare, requests } = clientOf(ranged, () => new Response(null, { status: 503 }), ranged);
    const file = { name: "m f.gguf", bytes: whole.length };
    const pieces = await Array.fromAsync(pare.runs.download(RUN.id, file));
    assert.ok(new Uint8Array(await new Blob(pieces).arrayBuffer()).every((byte, i) => byte === whole[i]));
    assert.deepEqual(pieces.map(({ length }) => length), [2 ** 24, 5]);
    assert.equal(requests.length, 3);
    assert.ok(requests[0].url.endsWith("/files/m%20f.gguf"));
  });

  it("refuses a piece of another length", async () => {
    const { pare } = clientOf(() => new Response(new Uint8Array(4), { status: 206 }));
    await assert.rejects(
      Array.fromAsync(pare.runs.download(RUN.id, { name: "f", bytes: 5 })),
      (error) => error instanceof MalformedAnswerError && /has 4 bytes from 0, not 5/.test(error.message),
    );
  });
});
