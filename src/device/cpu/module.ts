/**
 * Loads the WebAssembly module of the kernels, which `deno task build` compiles from `assembly/`, and instantiates it.
 * A kernel is identified by its index in the sorted list of kernel names, so that all threads number the kernels alike.
 */

import { pairsInstructions } from "./instruction_pairing.ts";
import type { ProductLibrary } from "./products/product_library.ts";

/** Runs one work item of a kernel. `args` is the address of the kernel's arguments. */
type RunItem = (args: number, item: number) => void;
/** Returns the number of work items of the command that is queued next, whose arguments are at address `args`. */
type CountItems = (args: number) => number;

/** One instance of the module. Each thread has an instance with its own globals, and all instances share one memory. */
export interface KernelInstance {
  /** The functions that run one work item, by kernel index. */
  readonly run: readonly RunItem[];
  /** The functions that count work items, by kernel index. */
  readonly items: readonly CountItems[];
  /** Must be called when the buffer at `address` has changed, or will be changed by a queued command. */
  readonly markChanged: (address: number) => void;
  /** The address from which on the backend allocates. The module's own data and shared memory lie before it. */
  readonly heapBase: number;
  /** The size in bytes of the scratch memory that a thread needs. */
  readonly scratchBytes: number;
  /** Sets the address of this instance's scratch memory. */
  readonly setScratch: (address: number) => void;
}

const ITEMS_SUFFIX = "_items";

/** The names of a module's kernels. The index of a kernel is its index in this list. */
export function kernelNames(module: WebAssembly.Module): string[] {
  const exported = new Set(WebAssembly.Module.exports(module).map(({ name }) => name));
  return [...exported].filter((name) => exported.has(name + ITEMS_SUFFIX)).sort();
}

/**
 * Instantiates the module with `memory`.
 * @param threads the number of threads that run the work items of a kernel, at least 1
 * @param library the library that multiplies matrices. Without one, the module multiplies them itself
 */
export function instantiate(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  threads: number,
  library?: ProductLibrary,
): KernelInstance {
  const unused = () => {}, { sgemm = unused, bgemm } = library?.gemm(memory) ?? {};
  const instance = new WebAssembly.Instance(module, { env: { memory, sgemm, bgemm: bgemm ?? unused } });
  const names = kernelNames(module);
  const find = <F>(name: string): F => instance.exports[name] as F;
  find<(on: boolean) => void>("set_paired")(pairsInstructions());
  find<(count: number) => void>("set_threads")(threads);
  find<(isPresent: boolean) => void>("set_library")(library !== undefined);
  return {
    run: names.map((name) => find<RunItem>(name)),
    // WebAssembly returns a u32 as a signed number.
    items: names.map((name) => {
      const items = find<CountItems>(name + ITEMS_SUFFIX);
      return (args) => items(args) >>> 0;
    }),
    markChanged: find<(address: number) => void>("mark_changed"),
    heapBase: find<() => number>("heap_base")(),
    scratchBytes: find<() => number>("scratch_bytes")(),
    setScratch: find<(address: number) => void>("set_scratch"),
  };
}

/**
 * Compiles the module. If `threaded` is set, this is the variant that imports a shared memory.
 * @throws {Error} if the module has not been built
 */
export async function loadModule(threaded: boolean): Promise<WebAssembly.Module> {
  const name = threaded ? "kernels.wasm" : "kernels_single.wasm";
  const url = new URL(`../../../build/${name}`, import.meta.url);
  return await WebAssembly.compile(await readBytes(url));
}

async function readBytes(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  const missing = `${url.href} is missing: run \`deno task build\``;
  if (url.protocol === "file:") {
    try {
      return await Deno.readFile(url);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) throw new Error(missing);
      throw error;
    }
  }
  const response = await fetch(url);
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`${missing} (${response.status})`);
  }
  return new Uint8Array(await response.arrayBuffer());
}
