/**
 * Measures the latency of small layers while several clients send requests at once. A request's latency includes the time it
 * waits for the solves of other requests.
 */

import type { ChildHost } from "../../processes/child_host.ts";
import { writeLayerFile } from "../measure/layer_file.ts";
import { postLayer } from "../measure/post_layer.ts";
import { percentile } from "../measure/statistics.ts";

/** The load that the clients produce. */
export interface Load {
  /** How many clients send requests at the same time. Each waits for its answer before it sends the next. */
  readonly clients: number;
  /** How many requests all clients send together. */
  readonly requests: number;
}

/** The latencies of one layer size, in seconds from the first byte sent to the last byte received. */
export interface LatencyResult extends Load {
  readonly rows: number;
  readonly cols: number;
  /** The median under load. */
  readonly p50: number;
  readonly p99: number;
  readonly requestsPerSecond: number;
  /** The median latency of a single client, measured with a tenth as many requests. */
  readonly alone: number;
}

/**
 * Solves one layer of (rows, cols) repeatedly under `load`. The clients run on the same machine as the host and share its
 * cores.
 */
export async function measureLatency(
  host: ChildHost,
  rows: number,
  cols: number,
  load: Load,
): Promise<LatencyResult> {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    await writeLayerFile(path, rows, cols);
    const body = await Deno.readFile(path);
    const send = async () => (await postLayer(host, body, "sparsity=0.5&error=false")).wallSeconds;
    // The first requests are not measured, because the host compiles its kernels and allocates its buffers
    // during them.
    await runUnderLoad({ ...load, requests: load.clients }, send);
    const single = await runUnderLoad({ clients: 1, requests: Math.ceil(load.requests / 10) }, send);
    const started = performance.now();
    const latencies = await runUnderLoad(load, send);
    const seconds = (performance.now() - started) / 1000;
    return {
      rows,
      cols,
      ...load,
      p50: percentile(latencies, 50),
      p99: percentile(latencies, 99),
      requestsPerSecond: load.requests / seconds,
      alone: percentile(single, 50),
    };
  } finally {
    await Deno.remove(path);
  }
}

/** Calls `send` `load.requests` times, with at most `load.clients` calls running at once, and returns their results. */
export async function runUnderLoad<Result>(
  load: Load,
  send: () => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  let unsent = load.requests;
  const client = async () => {
    while (unsent > 0) {
      unsent--;
      results.push(await send());
    }
  };
  await Promise.all(Array.from({ length: load.clients }, client));
  return results;
}
