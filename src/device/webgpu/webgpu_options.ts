/** How to open the WebGPU backend. */

import type { Kernel } from "../kernels/kernel.ts";
import type { WebGpuRuntime } from "./runtimes/runtime.ts";
import type { AdapterKey, Tiling, Tuning } from "./tuning.ts";

/** The options of `createWebGpuBackend`. */
export interface WebGpuOptions {
  /**
   * The implementation of WebGPU. It must be that of `adapter`, if `adapter` is given.
   * @default DEFAULT_RUNTIME
   */
  readonly runtime?: WebGpuRuntime;
  /**
   * An adapter that has not opened a device yet.
   * @default the fastest adapter of the machine
   */
  readonly adapter?: GPUAdapter;
  /**
   * Whether to use an adapter that is emulated on the CPU. Ignored if `adapter` is given.
   * @default false
   */
  readonly forceSoftware?: boolean;
  /**
   * The kind of adapter, hardware GPU or software, whose default shaders are used. For tests and benchmarks.
   * @default the kind of the adapter
   */
  readonly tiling?: Tiling;
  /**
   * Returns the names of the shaders to use on an adapter in place of the default shaders. `tuningFor` returns the fastest
   * measured ones.
   */
  readonly tuning?: (adapter: AdapterKey) => Tuning | undefined;
  /** Kernels to compile before the backend is returned, so that its first work does not have to wait for the compiler. */
  readonly warm?: readonly Kernel[];
  /**
   * The number of bytes that are read back at a time, a multiple of 4. For tests.
   * @default 64 MiB
   */
  readonly readChunkBytes?: number;
  /**
   * The largest size of the staging memory through which bytes are written, in bytes. An upload waits for the device only if
   * this memory is full.
   * @default 512 MiB, or 128 MiB on an adapter that is emulated on the CPU
   */
  readonly uploadBytes?: number;
}
