/**
 * Runs the latency bench: measures how long requests for a small layer take while eight clients send them,
 * writes `results/latency.json` and prints the table.
 */

import type { BackendChoice } from "../../../src/host/backends.ts";
import { startHost } from "../../processes/child_host.ts";
import { resultsUrl, writeResults } from "../report/results_file.ts";
import { measureLatency } from "./measure_latency.ts";
import { type LatencyResults, latencyTable } from "./table.ts";

/** Starts a host and measures 200 requests of eight clients for a layer of 768 × 768. */
export async function benchLatency(backend: BackendChoice): Promise<void> {
  await using host = await startHost(["--backend", backend]);
  const results: LatencyResults = {
    latency: await measureLatency(host, 768, 768, { clients: 8, requests: 200 }),
  };
  await writeResults(resultsUrl("latency", "json"), host, results);
  console.log(latencyTable(results));
}
