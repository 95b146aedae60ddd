/**
 * The compiled kernels: finding, compiling and instantiating the WebAssembly module, and the table of what it exports.
 * Host and workers number the kernels alike, by the sorted names of the exports.
 */

import { pairsLanes } from "./wide.ts";

/** Runs one item of a kernel. */
export type RunItem = (args: number, item: number) => void;
/** How many items a kernel falls into. Pure: it looks at the argument block only. */
export type CountItems = (args: number) => number;

/** One instance of the module: a thread's own globals over the common memory. */
export interface KernelInstance {
  /** By kernel index. */
  readonly run: readonly RunItem[];
  readonly items: readonly CountItems[];
  /** Where the module's own data ends. */
  readonly heapBase: number;
  /** What {@link KernelInstance.setScratch} wants behind its address, in bytes. */
  readonly scratchBytes: number;
  readonly setScratch: (address: number) => void;
}

const ITEMS_SUFFIX = "_items";

/** The kernels of a module; a kernel's index is its place in this list. */
export function kernelNames(module: WebAssembly.Module): string[] {
  const exported = new Set(WebAssembly.Module.exports(module).map(({ name }) => name));
  return [...exported].filter((name) => exported.has(name + ITEMS_SUFFIX)).sort();
}

/** Instantiates the module over `memory`. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): KernelInstance {
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  const names = kernelNames(module);
  const find = <F>(name: string): F => instance.exports[name] as F;
  find<(on: boolean) => void>("set_wide")(pairsLanes());
  return {
    run: names.map((name) => find<RunItem>(name)),
    // AssemblyScript's u32 arrives as a signed number.
    items: names.map((name) => {
      const items = find<CountItems>(name + ITEMS_SUFFIX);
      return (args) => items(args) >>> 0;
    }),
    heapBase: find<() => number>("heap_base")(),
    scratchBytes: find<() => number>("scratch_bytes")(),
    setScratch: find<(address: number) => void>("set_scratch"),
  };
}

/**
 * Compiles the module built for a shared (`threaded`) or a plain memory.
 * @throws {Error} when it was not built
 */
export async function loadModule(threaded: boolean): Promise<WebAssembly.Module> {
  const name = threaded ? "kernels.wasm" : "kernels_single.wasm";
  const url = new URL(`../../build/${name}`, import.meta.url);
  return await WebAssembly.compile(await readBytes(url));
}

async function readBytes(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  const missing = `${url.href} is missing: run \`deno task build:wasm\``;
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
