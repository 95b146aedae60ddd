/** Keeps what a sweep found: the fastest variant of each kernel, for the adapter it was found on, in `src/webgpu/tunings.json`. */

import {
  type AdapterKey,
  adapterKey,
  sameAdapter,
  type TunedAdapter,
  type Tuning,
} from "../../../src/webgpu/tuning.ts";
import type { KernelRate } from "./kernel_rates.ts";

const FILE = new URL("../../../src/webgpu/tunings.json", import.meta.url);

/** The fastest variant of every kernel that was measured. */
export function fastest(rates: readonly KernelRate[]): Tuning {
  const best = new Map<string, KernelRate>();
  for (const rate of rates) {
    const known = best.get(rate.kernel);
    if (!known || rate.seconds < known.seconds) best.set(rate.kernel, rate);
  }
  return Object.fromEntries([...best].map(([kernel, { variant }]) => [kernel, variant]));
}

/** `known` with `entry` in place of what it says of that adapter. */
export function withEntry(known: readonly TunedAdapter[], entry: TunedAdapter): TunedAdapter[] {
  return [...known.filter(({ adapter }) => !sameAdapter(adapter, entry.adapter)), entry];
}

/** Writes the adapter's entry. */
export async function saveTuning(adapter: AdapterKey, tuning: Tuning, date: string): Promise<void> {
  const known: TunedAdapter[] = JSON.parse(await Deno.readTextFile(FILE));
  const entries = withEntry(known, { adapter: adapterKey(adapter), date, tuning });
  await Deno.writeTextFile(FILE, JSON.stringify(entries, null, 2) + "\n");
}
