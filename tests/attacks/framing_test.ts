/**
 * A host answers malformed HTTP with an error or closes the connection. It never takes a part of one request for a second request, and it
 * answers the next connection.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Host, serve } from "../../routes/serve.ts";
import type { LogEntry } from "../../src/host/metrics.ts";
import { memoryBackend } from "../host/memory_backend.ts";
import { withinBounds } from "./bounds.ts";
import { type BytePart, bytesOf } from "./bytes.ts";
import { type AttackCase, readCorpus } from "./corpus.ts";

/** The bytes of a connection, and the answers that they may receive. */
interface FramingCase extends AttackCase {
  readonly send: readonly BytePart[];
  /** The statuses of all answers on the connection. It is empty if the host closes the connection without an answer. */
  readonly answers: readonly number[];
}

/** Sends `bytes` on a connection of its own. Returns everything that the host answers until it closes the connection. */
async function exchange({ url }: Host, bytes: Uint8Array): Promise<string> {
  const { hostname, port } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  // The host may close the connection before it has read everything. Then the rest cannot be sent, but an answer can be read.
  const sending = ReadableStream.from([bytes]).pipeTo(connection.writable, { preventClose: true })
    .then(() => connection.closeWrite()).catch(() => {});
  let text = "";
  try {
    for await (const chunk of connection.readable) text += new TextDecoder("latin1").decode(chunk);
  } catch {
    // The connection was reset.
  }
  await sending;
  return text;
}

/** Returns the statuses of the answers in `text`. */
function statuses(text: string): number[] {
  return [...text.matchAll(/(?:^|\r\n\r\n|\})HTTP\/1\.[01] (\d{3})/g)].map(([, status]) => Number(status));
}

const entries: LogEntry[] = [];
const host = await serve({
  open: () => Promise.resolve(memoryBackend()),
  port: 0,
  log: (entry) => void entries.push(entry),
  connections: { headerMilliseconds: 500, keepAliveMilliseconds: 500 },
});
after(() => host.shutdown());

describe("a host, given malformed HTTP,", () => {
  for (const { name, send, answers } of readCorpus<FramingCase>("framing")) {
    it(`answers ${name} as documented`, async () => {
      entries.length = 0;
      await withinBounds(async () =>
        assert.deepEqual(statuses(await exchange(host, bytesOf(send))), answers)
      );
      assert.ok(!JSON.stringify(entries).includes("smuggled"), "a part of the body became a request");
      const health = await fetch(`${host.url}/healthz`);
      await health.body?.cancel();
      assert.equal(health.status, 200);
    });
  }
});
