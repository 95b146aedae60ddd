/** Latency of small layers under several clients at once: what a request waits for, its own solve and the others' included. */

import type { ChildHost } from "../child_host.ts";
import { solveOver } from "./host.ts";
import { writeLayerFile } from "./layer_file.ts";
import { percentile } from "./statistics.ts";

/** How the clients press. */
export interface Load {
  readonly clients: number;
  /** In all; whichever client is free sends the next. */
  readonly requests: number;
}

/** Latencies of one layer size, in seconds from the first byte sent to the last received. */
export interface LatencyResult extends Load {
  readonly rows: number;
  readonly cols: number;
  readonly p50: number;
  readonly p99: number;
  readonly requestsPerSecond: number;
  /** A client alone, the median of a tenth as many requests. */
  readonly alone: number;
}

/** Solves one layer of (rows, cols) over and over. The clients share this machine's cores with the host. */
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
    const send = async () => (await solveOver(host, body, "sparsity=0.5&error=false")).wallSeconds;
    await press({ ...load, requests: load.clients }, send); // compiles, and grows the host's buffers
    const single = await press({ clients: 1, requests: Math.ceil(load.requests / 10) }, send);
    const started = performance.now();
    const latencies = await press(load, send);
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

/** Calls `send` as often as `load` says, with at most `clients` under way at once, and gathers what it gives. */
export async function press<T>(load: Load, send: () => Promise<T>): Promise<T[]> {
  const gathered: T[] = [];
  let left = load.requests;
  const client = async () => {
    while (left > 0) {
      left--;
      gathered.push(await send());
    }
  };
  await Promise.all(Array.from({ length: load.clients }, client));
  return gathered;
}
