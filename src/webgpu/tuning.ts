/**
 * Which variant of a kernel is fastest on an adapter: measured by `deno task bench --gpu`, which writes `tunings.json` with `--save`. An
 * adapter that is not in it gets every kernel's own shader for its kind.
 */

import type { Kernel, ShaderVariant } from "../kernels/kernel.ts";
import measured from "./tunings.json" with { type: "json" };

/** Which of a kernel's two shaders to use. */
export type Tiling = "discrete" | "software";

/** Variants by kernel: `discrete` or `software` for its two shaders, or the name of one of `variants`. */
export type Tuning = Readonly<Record<string, string>>;

/** What tells adapters apart. */
export type AdapterKey = Readonly<Pick<GPUAdapterInfo, "vendor" | "architecture" | "device" | "description">>;

/** An adapter and what was found on it. */
export interface TunedAdapter {
  readonly adapter: AdapterKey;
  /** ISO 8601. */
  readonly date: string;
  readonly tuning: Tuning;
}

/** The adapter's key, as plain data. */
export function adapterKey({ vendor, architecture, device, description }: AdapterKey): AdapterKey {
  return { vendor, architecture, device, description };
}

/** Whether both are one kind of adapter. */
export function sameAdapter(a: AdapterKey, b: AdapterKey): boolean {
  return JSON.stringify(adapterKey(a)) === JSON.stringify(adapterKey(b));
}

/** What was measured on `adapter`; undefined where nothing was. */
export function tuningFor(
  adapter: AdapterKey,
  known: readonly TunedAdapter[] = measured,
): Tuning | undefined {
  return known.find((entry) => sameAdapter(entry.adapter, adapter))?.tuning;
}

/** Every shader of `kernel` by the name a tuning gives it. */
export function shadersOf(kernel: Kernel): ReadonlyMap<string, ShaderVariant> {
  return new Map([
    ["discrete", kernel.shader],
    ...(kernel.softwareShader ? [["software", kernel.softwareShader]] as const : []),
    ...Object.entries(kernel.variants ?? {}),
  ]);
}

/** The shader of `kernel` that `tuning` names, else the one for `tiling`. @throws {RangeError} it names one there is not */
export function chooseShader(kernel: Kernel, tiling: Tiling, tuning: Tuning = {}): ShaderVariant {
  const name = tuning[kernel.name];
  if (name === undefined) return (tiling === "software" && kernel.softwareShader) || kernel.shader;
  const shader = shadersOf(kernel).get(name);
  if (!shader) throw new RangeError(`tuning of ${kernel.name}: it has no variant ${name}`);
  return shader;
}
