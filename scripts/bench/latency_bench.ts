/**
 * Measures the latency of a small layer while several clients send requests at once. A request's latency includes the time
 * it waits for the solves of other requests. The clients share the cores of this machine with the host.
 */

import { type ChildHost, startHost } from "../processes/child_host.ts";
import type { Bench } from "./bench.ts";
import { writeLayerFile } from "./measure/layer_file.ts";
import { postLayer } from "./measure/post_layer.ts";
import { percentile } from "./measure/statistics.ts";
import { formatSize, markdownTable } from "./report/markdown_table.ts";

const ROWS = 768, COLS = 768;
const LOAD: Load = { clients: 8, requests: 200 };

interface Load {
  /** How many clients send requests at the same time. Each waits for its answer before it sends the next. */
  readonly clients: number;
  /** How many requests all clients send together. */
  readonly requests: number;
}

/** The latencies of one layer size, in seconds from the first byte sent to the last byte received. */
interface LatencyResult extends Load {
  readonly rows: number;
  readonly cols: number;
  readonly p50: number;
  readonly p99: number;
  readonly requestsPerSecond: number;
  /** The median latency of a single client, measured with a tenth as many requests. */
  readonly alone: number;
}

export const bench: Bench<object, { readonly latency: LatencyResult }> = {
  description: "the latency of requests while eight clients send them",
  async measure({ backend }, { save }) {
    await using host = await startHost(["--backend", backend]);
    const results = { latency: await measureLatency(host) };
    await save(host, results);
    return results;
  },
  tables: {
    latency({ latency }) {
      const milliseconds = (seconds: number) => (1000 * seconds).toFixed(0);
      return markdownTable<LatencyResult>([
        ["rows × cols", formatSize],
        ["clients", (r) => r.clients.toString()],
        ["requests", (r) => r.requests.toString()],
        ["p50 ms", (r) => milliseconds(r.p50)],
        ["p99 ms", (r) => milliseconds(r.p99)],
        ["requests/s", (r) => r.requestsPerSecond.toFixed(1)],
        ["one client, p50 ms", (r) => milliseconds(r.alone)],
      ], [latency]);
    },
  },
};

async function measureLatency(host: ChildHost): Promise<LatencyResult> {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    await writeLayerFile(path, ROWS, COLS);
    const body = await Deno.readFile(path);
    const send = async () => (await postLayer(host, body, "sparsity=0.5&error=false")).wallSeconds;
    // During the first requests the host compiles its kernels and allocates its buffers.
    await runUnderLoad({ ...LOAD, requests: LOAD.clients }, send);
    const single = await runUnderLoad({ clients: 1, requests: Math.ceil(LOAD.requests / 10) }, send);
    const started = performance.now();
    const latencies = await runUnderLoad(LOAD, send);
    return {
      rows: ROWS,
      cols: COLS,
      ...LOAD,
      p50: percentile(latencies, 50),
      p99: percentile(latencies, 99),
      requestsPerSecond: LOAD.requests / ((performance.now() - started) / 1000),
      alone: percentile(single, 50),
    };
  } finally {
    await Deno.remove(path);
  }
}

/** Calls `send` `requests` times, with at most `clients` calls running at once, and returns their results. */
export async function runUnderLoad<Result>(
  { clients, requests }: Load,
  send: () => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  let unsent = requests;
  const client = async () => {
    while (unsent-- > 0) results.push(await send());
  };
  await Promise.all(Array.from({ length: clients }, client));
  return results;
}
