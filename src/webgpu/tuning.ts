/**
 * Chooses the fastest variant of each kernel for an adapter. `deno task bench --gpu --save` measures the variants and writes the fastest
 * ones to `tunings.json`. An adapter that is not in that file gets the default shader for its kind.
 */

import type { Kernel, ShaderVariant } from "../kernels/kernel.ts";
import measured from "./tunings.json" with { type: "json" };

/** The two kinds of default shader: for discrete GPUs, and for adapters that are emulated on the CPU. */
export type Tiling = "discrete" | "software";

/** For each kernel name a variant: `discrete` or `software` for the default shaders, or a name in the kernel's `variants`. */
export type Tuning = Readonly<Record<string, string>>;

/** The properties that identify a kind of adapter. */
export type AdapterKey = Readonly<Pick<GPUAdapterInfo, "vendor" | "architecture" | "device" | "description">>;

/** An adapter and the variants that were fastest on it. */
export interface TunedAdapter {
  readonly adapter: AdapterKey;
  /** The date of the measurement, ISO 8601. */
  readonly date: string;
  readonly tuning: Tuning;
}

/** Returns the key of an adapter as plain data. */
export function adapterKey({ vendor, architecture, device, description }: AdapterKey): AdapterKey {
  return { vendor, architecture, device, description };
}

/** Whether `a` and `b` identify the same kind of adapter. */
export function sameAdapter(a: AdapterKey, b: AdapterKey): boolean {
  return JSON.stringify(adapterKey(a)) === JSON.stringify(adapterKey(b));
}

/** Returns the tuning that was measured on `adapter`, or undefined if none was. */
export function tuningFor(
  adapter: AdapterKey,
  known: readonly TunedAdapter[] = measured,
): Tuning | undefined {
  return known.find((entry) => sameAdapter(entry.adapter, adapter))?.tuning;
}

/** Returns every shader of `kernel` by its name in a tuning. */
export function shadersOf(kernel: Kernel): ReadonlyMap<string, ShaderVariant> {
  return new Map([
    ["discrete", kernel.shader],
    ...(kernel.softwareShader ? [["software", kernel.softwareShader]] as const : []),
    ...Object.entries(kernel.variants ?? {}),
  ]);
}

/** Returns the shader of `kernel` that `tuning` names, or the default one for `tiling`. @throws {RangeError} if the kernel has no such variant */
export function chooseShader(kernel: Kernel, tiling: Tiling, tuning: Tuning = {}): ShaderVariant {
  const name = tuning[kernel.name];
  if (name === undefined) return (tiling === "software" && kernel.softwareShader) || kernel.shader;
  const shader = shadersOf(kernel).get(name);
  if (!shader) throw new RangeError(`tuning of ${kernel.name}: it has no variant ${name}`);
  return shader;
}
