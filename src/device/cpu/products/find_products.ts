/** Lists the ways in which this machine can multiply matrices, by the options `--products` and `--precision`. */

import { BFLOAT16_REMEDY, loadProducts, type Precision, type ProductLibrary } from "./product_library.ts";

/** `auto` uses the first library that is found, `own` uses none, and anything else is the path of a library. */
export type ProductsChoice = string;

/**
 * The usual paths of libraries, by `Deno.build.os` and vendor. The vendors are in the order of preference. The order is
 * fixed, and no library is timed, so the choice does not depend on the load of the machine.
 */
const PLACES: Readonly<Partial<Record<typeof Deno.build.os, readonly (readonly string[])[]>>> = {
  linux: [
    [
      "/usr/lib/x86_64-linux-gnu/libdnnl.so.3.6",
      "/usr/lib/x86_64-linux-gnu/libdnnl.so.3",
      "/usr/lib/aarch64-linux-gnu/libdnnl.so.3.6",
      "/usr/lib64/libdnnl.so.3",
      "/usr/lib/libdnnl.so.3",
    ],
    [
      "/usr/lib/x86_64-linux-gnu/libopenblas.so.0",
      "/usr/lib/aarch64-linux-gnu/libopenblas.so.0",
      "/usr/lib64/libopenblas.so.0",
      "/usr/lib64/libopenblasp.so.0",
      "/usr/lib/libopenblas.so.0",
    ],
    ["/opt/intel/oneapi/mkl/latest/lib/libmkl_rt.so", "/usr/lib/x86_64-linux-gnu/libmkl_rt.so"],
    ["/usr/lib/x86_64-linux-gnu/libblis.so.4", "/usr/lib64/libblis.so.4"],
  ],
  darwin: [
    ["/System/Library/Frameworks/Accelerate.framework/Accelerate"],
    ["/opt/homebrew/opt/openblas/lib/libopenblas.dylib", "/usr/local/opt/openblas/lib/libopenblas.dylib"],
  ],
};

/** How to install a library without the rights of an administrator, and what it gains. Undefined if there is no such package. */
export const LIBRARY_HINT =
  typeof Deno !== "undefined" && Deno.build.target.startsWith("x86_64-unknown-linux")
    ? "oneDNN saves a quarter of the processor time of a run, and half if the model and the processor have bfloat16: " +
      "python3 -m venv onednn && onednn/bin/pip install onednn-cpu-gomp, and then --products onednn/lib/libdnnl.so.3"
    : undefined;

/** The products that a backend may use. */
interface ProductsRequest {
  readonly products: ProductsChoice;
  /** The precisions that may be used. The weights of a bfloat16 checkpoint lose nothing in bfloat16. */
  readonly precisions: readonly Precision[];
}

/**
 * Returns the usable libraries in the order of preference, once for each precision that they have. Unless `products` is
 * a path, the last is Pare's own WebAssembly, undefined, which multiplies in float32.
 * @throws {Error} if `products` is a path and the library cannot be loaded, or if there is nothing for the request
 */
export function findProducts({ products, precisions }: ProductsRequest): (ProductLibrary | undefined)[] {
  const isPath = products !== "auto" && products !== "own", outsideDeno = typeof Deno === "undefined";
  const places = products === "own" || outsideDeno ? [] : PLACES[Deno.build.os] ?? [];
  const libraries = isPath
    ? loadPrecisions(products, precisions)
    : places.flatMap((paths) => firstOf(paths, precisions));
  const own = !isPath && precisions.includes("float32") ? [undefined] : [];
  const found = [...libraries.toSorted((a, b) => preference(a) - preference(b)), ...own];
  if (found.length > 0) return found;
  if (products === "own") throw new Error("Pare's own products are float32, so bfloat16 needs a library");
  const names = places.flatMap((paths) => firstOf(paths, ["float32"])).map(({ name }) => name);
  const installed = names.length > 0
    ? `of the installed libraries (${names.join(", ")})`
    : "is installed that";
  throw new Error(`no library ${installed} multiplies bfloat16. ${BFLOAT16_REMEDY}`);
}

/** The instruction sets in the name of oneDNN with which a processor multiplies bfloat16 in fewer instructions than float32. */
const BFLOAT16_INSTRUCTIONS = /bf16|amx|avx10/;

/** Orders libraries: bfloat16 by instructions of the processor comes first, and bfloat16 without them last. */
function preference({ precision, name }: ProductLibrary): number {
  return precision === "float32" ? 1 : BFLOAT16_INSTRUCTIONS.test(name) ? 0 : 2;
}

/** Returns the library at the first usable path, once for each precision. */
function firstOf(places: readonly string[], precisions: readonly Precision[]): ProductLibrary[] {
  for (const path of places) {
    try {
      return loadPrecisions(path, precisions);
    } catch {
      // The library is absent, or is not usable on this machine. The next path may have another one.
    }
  }
  return [];
}

/** Loads a library once for each precision that it has. @throws its first error, if it has none of them */
function loadPrecisions(path: string, precisions: readonly Precision[]): ProductLibrary[] {
  const loaded: ProductLibrary[] = [], errors: unknown[] = [];
  for (const precision of precisions) {
    try {
      loaded.push(loadProducts(path, precision));
    } catch (error) {
      errors.push(error);
    }
  }
  if (loaded.length === 0) throw errors[0];
  return loaded;
}
