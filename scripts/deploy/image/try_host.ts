/**
 * Waits for a host, prunes one layer there, and prints what it saw as JSON. The replay of the image runs it in the network of the
 * container:
 *
 *     deno run --allow-net try_host.ts URL KEY STARTED_AT
 */

import { decode, encode, type HostTensor, Pare } from "../../../src/client/mod.ts";

const ROWS = 96, COLS = 128, SPARSITY = 0.5, POLL_MS = 20, LIMIT_MS = 120_000;

const [url, key, startedAt] = Deno.args;

/** Waits until `path` answers with 200. Returns the ms since the start of the container. @throws {Error} after two minutes */
async function waitFor(path: string): Promise<number> {
  for (;;) {
    const response = await fetch(url + path).catch(() => undefined);
    await response?.body?.cancel();
    const elapsed = Date.now() - Number(startedAt);
    if (response?.ok) return elapsed;
    if (elapsed > LIMIT_MS) throw new Error(`${path} did not answer with 200 within ${LIMIT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** A float32 tensor of shape [rows, cols] with repeatable values, of which none is zero. */
function tensor(rows: number, cols: number): HostTensor {
  const values = Float32Array.from({ length: rows * cols }, (_, i) => 0.01 + Math.sin(i * 12.9898) ** 2);
  return { dtype: "F32", shape: [rows, cols], data: new Uint8Array(values.buffer) };
}

const healthyMs = await waitFor("/healthz"), readyMs = await waitFor("/readyz");
const host = new Pare({ baseUrl: url, apiKey: key });
const { weight, report } = await host.pruneLayer(
  { weight: tensor(ROWS, COLS), inputs: tensor(2 * COLS, COLS) },
  { sparsity: SPARSITY },
);
// The answer is written and read once more, because a client would store it as a file.
const stored = decode(encode({ weight })).tensors.get("weight")!;
const zeros = new Float32Array(stored.data.slice().buffer).filter((value) => value === 0).length;
if (zeros !== ROWS * COLS * SPARSITY) {
  throw new Error(`the layer has ${zeros} zeros instead of ${ROWS * COLS * SPARSITY}`);
}
console.log(JSON.stringify({ healthyMs, readyMs, layer: [ROWS, COLS], zeros, method: report.method }));
