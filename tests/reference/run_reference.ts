/**
 * Runs the float64 references of the kernels. The references of the kernels that `src/device/kernels` declares in a file STEM.ts are
 * in `kernels/STEM.ts`. A reference is exported under the name of its kernel.
 */

import type { Contents, Params, Reference } from "./kernel_reference.ts";

/** The references of all kernels, by the names of the kernels. */
const REFERENCES: Readonly<Record<string, Reference>> = await (async () => {
  const folder = new URL("./kernels/", import.meta.url), found: Record<string, Reference> = {};
  for await (const { name } of Deno.readDir(folder)) {
    Object.assign(found, await import(new URL(name, folder).href));
  }
  return found;
})();

type Operands = Readonly<Record<string, Float32Array | Float64Array | Uint32Array>>;

/** Returns copies of the operands, in which floats are float64 numbers. */
export function copyContents(operands: Operands): Contents {
  const copies = Object.entries(operands).map(([name, values]) => [
    name,
    values instanceof Uint32Array ? values.slice() : Float64Array.from(values),
  ]);
  return Object.fromEntries(copies);
}

/**
 * Computes a dispatch in float64, and returns the contents of its buffers afterwards. Parameters are rounded to f32 if the
 * kernel receives them as f32.
 */
export function runReference(
  kernel: { readonly name: string; readonly params: Readonly<Record<string, "u32" | "f32">> },
  before: Operands,
  params: Params,
): Contents {
  const contents = copyContents(before), reference = REFERENCES[kernel.name];
  if (!reference) throw new Error(`tests/reference/kernels has no reference of ${kernel.name}`);
  const rounded = Object.entries(params).map(([name, value]) => [
    name,
    kernel.params[name] === "f32" ? Math.fround(value) : value,
  ]);
  reference(contents, Object.fromEntries(rounded));
  return contents;
}
