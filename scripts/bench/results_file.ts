/** What the benches leave behind: `scripts/bench/results/NAME.json`, from which every published figure is rendered. */

import type { LayerResult } from "./bench_layer.ts";
import type { MatmulRate } from "./gpu/gemm_race.ts";
import type { KernelRate } from "./gpu/kernel_rates.ts";
import type { LatencyResult } from "./latency.ts";
import type { Machine } from "./machine.ts";
import type { GemmRate } from "./peak.ts";

/** What every results file says of where it was measured. */
export interface Measured {
  /** ISO 8601. */
  readonly date: string;
  readonly machine: Machine;
  readonly backend: string;
  readonly adapter: string;
}

/** The layers timed in one run. */
export interface LayersFile extends Measured {
  /** Absent in a run that measured through requests alone. */
  readonly peak?: GemmRate;
  readonly layers: readonly LayerResult[];
}

/** Requests of concurrent clients. */
export interface LatencyFile extends Measured {
  readonly latency: LatencyResult;
}

/** The shaders of a WebGPU adapter: `gemm` beside the public designs, and every heavy kernel. */
export interface GemmFile extends Measured {
  readonly order: number;
  readonly matmuls: readonly MatmulRate[];
  readonly kernels: readonly KernelRate[];
}

const FOLDER = new URL("./results/", import.meta.url);

/** Where the file `name` with `extension` lies. */
export function resultsUrl(name: string, extension: "json" | "svg"): URL {
  return new URL(`${name}.${extension}`, FOLDER);
}

/** Reads `NAME.json`. It is the benches' own, and not checked. @throws {Deno.errors.NotFound} */
export async function readResults<T extends Measured>(name: string): Promise<T> {
  return JSON.parse(await Deno.readTextFile(resultsUrl(name, "json")));
}

/** Writes `NAME.json`. */
export async function writeResults<T extends Measured>(name: string, results: T): Promise<void> {
  await Deno.mkdir(FOLDER, { recursive: true });
  await Deno.writeTextFile(resultsUrl(name, "json"), JSON.stringify(results, null, 2) + "\n");
}
