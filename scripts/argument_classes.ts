/** Writes, in AssemblyScript, the classes through which the twins of the cpu backend read their arguments. */

import type { Kernel } from "../src/device/kernels/kernel.ts";

/**
 * Returns a module with one class `NameArgs` per kernel. It has a `usize` per binding, the parameters, and then a
 * `usize` per rounded operand and for a rounded output, in the order in which the backend passes the arguments. Kernels
 * with the same arguments have the same class, under several names. A kernel that only adds rounded buffers to the
 * arguments of another kernel extends its class.
 */
export function argumentClasses(kernels: readonly Kernel[]): string {
  const classes = new Map<string, string>();
  const definitions = kernels.map(({ name, bindings, params, rounded, roundedOutput }) => {
    const own = className(name), addresses = Object.keys(bindings);
    const declared = [
      ...addresses.map((binding) => `${binding}: usize;`),
      ...Object.entries(params).map(([param, type]) => `${param}: ${type};`),
    ];
    const roundedBuffers = [
      ...addresses.slice(0, rounded?.count ?? 0),
      ...roundedOutput ? addresses.slice(-1) : [],
    ];
    const copies = roundedBuffers.map((binding) => `${binding}_rounded: usize;`);
    const fields = [...declared, ...copies].join("\n  "), base = classes.get(declared.join("\n  "));
    const same = classes.get(fields);
    if (same !== undefined) return `export type ${own} = ${same};`;
    classes.set(fields, own);
    return base === undefined
      ? `@unmanaged export class ${own} {\n  ${fields}\n}`
      : `@unmanaged export class ${own} extends ${base} {\n  ${copies.join("\n  ")}\n}`;
  });
  return definitions.join("\n\n") + "\n";
}

/** Returns the name of the class of a kernel: `GemmNnArgs` for `gemm_nn`. */
export function className(kernel: string): string {
  return kernel.split("_").map((word) => word[0].toUpperCase() + word.slice(1)).join("") + "Args";
}
