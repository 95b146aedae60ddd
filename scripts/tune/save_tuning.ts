/**
 * Stores which shader variant of each kernel is fastest on an adapter. The WebGPU backend looks up the stored
 * variants in `src/device/webgpu/tunings.json`.
 */

import { KERNELS } from "../../src/device/kernels/kernels.ts";
import { formatJson } from "../../src/base/files/whole_file.ts";
import {
  type AdapterKey,
  adapterKey,
  sameAdapter,
  type TunedAdapter,
  type Tuning,
} from "../../src/device/webgpu/tuning.ts";
import type { KernelRate } from "./kernel_rates.ts";

const FILE = new URL("../../src/device/webgpu/tunings.json", import.meta.url);

/** The kernels that choose among their shaders for hardware by the size of each dispatch. */
const CHOSEN_BY_SIZE = KERNELS.filter(({ variantFor }) => variantFor).map(({ name }) => name);

/**
 * Picks the fastest variant of each kernel in `rates`. A kernel that chooses by size is left out if a shader for
 * hardware is the fastest, because a tuning would fix the shader of all sizes.
 */
export function fastestVariants(rates: readonly KernelRate[]): Tuning {
  const best = new Map<string, KernelRate>();
  for (const rate of rates) {
    const fastest = best.get(rate.kernel);
    if (!fastest || rate.seconds < fastest.seconds) best.set(rate.kernel, rate);
  }
  return Object.fromEntries(
    [...best].filter(([kernel, { variant }]) => variant === "software" || !CHOSEN_BY_SIZE.includes(kernel))
      .map(([kernel, { variant }]) => [kernel, variant]),
  );
}

/** Returns `entries` with `entry` added. An earlier entry for the same adapter is removed. */
export function withEntry(entries: readonly TunedAdapter[], entry: TunedAdapter): TunedAdapter[] {
  return [...entries.filter(({ adapter }) => !sameAdapter(adapter, entry.adapter)), entry];
}

/** Writes `tuning` as the entry of `adapter`. @param date ISO 8601 */
export async function saveTuning(adapter: AdapterKey, tuning: Tuning, date: string): Promise<void> {
  const stored: TunedAdapter[] = JSON.parse(await Deno.readTextFile(FILE));
  const entries = withEntry(stored, { adapter: adapterKey(adapter), date, tuning });
  await Deno.writeTextFile(FILE, formatJson(entries));
}
