/**
 * A host stays responsive and small while requests announce far more data than they send. The attacks are headers of a few dozen bytes, with
 * the Content-Length that belongs to the announced tensors.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Host, serve } from "../../routes/serve.ts";
import { encodeHeader, type TensorSpec } from "../../src/tensor/safetensors/encode.ts";
import { MAX_TOKENS } from "../../src/protocol/limits.ts";

/** The time within which `/healthz` must answer, whatever other clients send. */
const HEALTH_MILLISECONDS = 50;

/** The longest pause that a machine which runs other programs may impose on the process. The attacks used to stall it for 15 s. */
const PAUSE_MILLISECONDS = 500;

/** The memory that the attacks may add to the process, in bytes. */
const MAX_ADDED_BYTES = 64 * 2 ** 20;

const WEIGHT: TensorSpec = { name: "weight", dtype: "F16", shape: [1, 1] };

/** Sends the header of a layer with these inputs, and no data. Returns the status line of the answer, if one arrives within `waitMilliseconds`. */
async function announce(
  { url }: Host,
  inputs: TensorSpec,
  waitMilliseconds: number,
): Promise<string | undefined> {
  const { hostname, port, host } = new URL(url);
  const { bytes, dataBytes } = encodeHeader([inputs, WEIGHT]);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  const head = `POST /v1/layers HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/octet-stream\r\n` +
    `Content-Length: ${bytes.length + dataBytes}\r\n\r\n`;
  await connection.write(new TextEncoder().encode(head));
  await connection.write(bytes);
  const timer = setTimeout(() => connection.close(), waitMilliseconds);
  try {
    const answer = new Uint8Array(4096);
    const length = await connection.read(answer);
    connection.close();
    return new TextDecoder().decode(answer.subarray(0, length ?? 0)).split("\r\n", 1)[0];
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

describe("a host whose clients announce more than they send", () => {
  let host: Host;
  before(async () => {
    host = await serve({ backend: "cpu", port: 0, log: () => {} });
    // The first requests of a process are slower than all others.
    await announce(host, { name: "inputs", dtype: "F16", shape: [8, 1] }, 100);
    await timeHealthChecks(new Promise((resolve) => setTimeout(resolve, 300)));
  });
  after(() => host.shutdown());

  /** Returns the times that `/healthz` took while `attacks` ran, in milliseconds, the longest first. */
  async function timeHealthChecks(attacks: Promise<unknown>): Promise<number[]> {
    const times: number[] = [];
    let isOver = false;
    attacks.finally(() => void (isOver = true));
    do {
      const start = performance.now();
      await (await fetch(`${host.url}/healthz`)).text();
      times.push(performance.now() - start);
      await new Promise((resolve) => setTimeout(resolve, 5));
    } while (!isOver);
    return times.sort((a, b) => b - a);
  }

  const cases = [
    { name: "8.5 billion tokens", tokens: 8_500_000_000, status: "HTTP/1.1 422 Unprocessable Entity" },
    { name: "as many tokens as a request may have", tokens: MAX_TOKENS, status: undefined },
  ];
  for (const { name, tokens, status } of cases) {
    for (const count of [1, 3]) {
      it(`answers health checks within ${HEALTH_MILLISECONDS} ms while ${count} of them announce ${name}`, async () => {
        const inputs: TensorSpec = { name: "inputs", dtype: "F16", shape: [tokens, 1] };
        const before = Deno.memoryUsage().rss;
        const attacks = Promise.all(Array.from({ length: count }, () => announce(host, inputs, 400)));
        const times = await timeHealthChecks(
          Promise.all([attacks, new Promise((resolve) => setTimeout(resolve, 400))]),
        );
        assert.deepEqual(await attacks, Array(count).fill(status));
        const added = Deno.memoryUsage().rss - before;
        const longest = times[0], usual = times[Math.floor(times.length / 20)];
        assert.ok(usual < HEALTH_MILLISECONDS, `95 % of the health checks took up to ${usual} ms`);
        assert.ok(longest < PAUSE_MILLISECONDS, `a health check took ${longest} ms`);
        assert.ok(added < MAX_ADDED_BYTES, `the process grew by ${added} bytes`);
      });
    }
  }
});
