import type { Kernel } from "../kernels/kernel.ts";
import type { WebGpuRuntime } from "./runtimes/runtime.ts";
import type { Tiling, Tuning } from "./tuning.ts";

export interface WebGpuOptions {
  /** The implementation of WebGPU, from which `adapter` must come. @default DEFAULT_RUNTIME */
  readonly runtime?: WebGpuRuntime;
  /** An adapter that has not opened a device yet. @default the fastest adapter of the machine */
  readonly adapter?: GPUAdapter;
  /** Whether to use an adapter that is emulated on the CPU. Ignored if `adapter` is given. @default false */
  readonly forceSoftware?: boolean;
  /** The kind of adapter whose default shaders are used. For tests and benchmarks. @default the adapter's kind */
  readonly tiling?: Tiling;
  /** Shaders to use in place of the default ones. For tests and benchmarks. */
  readonly tuning?: Tuning;
  /** Kernels to compile before the backend is returned, so that its first work does not wait for the compiler. */
  readonly warm?: readonly Kernel[];
  /** The number of bytes that are read back at a time, a multiple of 4. For tests. @default 64 MiB */
  readonly readChunkBytes?: number;
  /** The most staging memory for writes in bytes. @default 512 MiB, or 128 MiB on a software adapter */
  readonly uploadBytes?: number;
}
