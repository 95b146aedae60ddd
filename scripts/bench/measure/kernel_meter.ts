/**
 * Measures the processor time of every kernel that a `cpu` backend runs. The backend has no threads, so each kernel runs
 * on the calling thread while it is dispatched, and the processor time before and after it is read. A wait for the
 * processor, such as on a busy machine, does not count.
 */

import process from "node:process";
import type { Backend } from "../../../src/device/backend.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { InlineExecutor } from "../../../src/device/cpu/executor.ts";
import { kernelNames, loadModule } from "../../../src/device/cpu/module.ts";
import type { ProductLibrary } from "../../../src/device/cpu/products/product_library.ts";
import { countPatches } from "../../../src/device/kernels/gemm.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";

/** What one kernel has done. The commands that pack or round the operands of another kernel count as kernels too. */
export interface KernelCost {
  readonly kernel: string;
  calls: number;
  processorSeconds: number;
  /** Counted by formula. 0 if the kernel multiplies no matrices. */
  flops: number;
  /** Counted as if each operand were read or written once. 0 if the kernel multiplies matrices, or if its operands have no shape. */
  bytes: number;
}

/** The bytes that a command without a declaration reads and writes, by its arguments. */
const COMMAND_BYTES: Readonly<Record<string, (args: Uint32Array) => number>> = {
  copy_bytes: ([, , bytes]) => 2 * bytes,
  zero_bytes: ([, bytes]) => bytes,
  from_float32: ([, , count]) => 6 * count,
};

/** A backend whose kernels are measured. Only one may exist at a time. */
export class KernelMeter {
  readonly #costs = new Map<string, KernelCost>();

  private constructor(readonly backend: Backend, private readonly restore: () => void) {}

  /** Creates the backend. `library` multiplies its matrices, or else WebAssembly does. */
  static async open(library?: ProductLibrary): Promise<KernelMeter> {
    const module = await loadModule(false), names = kernelNames(module);
    const backend = await createCpuBackend({ threads: 0, module, library });
    const { push } = InlineExecutor.prototype, dispatch = backend.dispatch.bind(backend);
    const meter = new KernelMeter(backend, () => InlineExecutor.prototype.push = push);
    InlineExecutor.prototype.push = function (kernel, args, words) {
      const before = process.cpuUsage();
      push.call(this, kernel, args, words);
      const { user, system } = process.cpuUsage(before), cost = meter.#costOf(names[kernel]);
      cost.calls++;
      cost.processorSeconds += (user + system) / 1e6;
      cost.bytes += COMMAND_BYTES[cost.kernel]?.(args) ?? 0;
    };
    backend.dispatch = (kernel, buffers, params) => {
      const cost = meter.#costOf(kernel.name), flops = countFlops(kernel, params);
      cost.flops += flops;
      if (flops === 0 && !(kernel.name in COMMAND_BYTES)) cost.bytes += countBytes(buffers, params);
      dispatch(kernel, buffers, params);
    };
    return meter;
  }

  /** Returns the costs since the last call, the most expensive kernel first. */
  take(): KernelCost[] {
    const costs = [...this.#costs.values()].toSorted((a, b) => b.processorSeconds - a.processorSeconds);
    this.#costs.clear();
    return costs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.restore();
    await this.backend.dispose();
  }

  #costOf(kernel: string): KernelCost {
    const cost = this.#costs.get(kernel) ?? { kernel, calls: 0, processorSeconds: 0, flops: 0, bytes: 0 };
    this.#costs.set(kernel, cost);
    return cost;
  }
}

type Params = Readonly<Record<string, number>>;

/** The operations of a matrix product or of causal attention. A multiplication and an addition count as two. */
function countFlops({ name }: Kernel, params: Params): number {
  if (/^(gemm|product)_/.test(name)) {
    const { m, n, k, upper } = params;
    return 2 * k * countPatches({ m, n, upper }, 1, 1);
  }
  if (name !== "attention") return 0;
  const { batch, tokens, heads, head_dim } = params;
  return 2 * batch * heads * head_dim * tokens * (tokens + 1);
}

/** The bytes of the operands, each of which has (rows, cols) elements or is a smaller buffer. */
function countBytes(
  buffers: Readonly<Record<string, { readonly byteLength: number }>>,
  params: Params,
): number {
  const { rows, cols } = params;
  if (rows === undefined || cols === undefined) return 0;
  return Object.values(buffers).reduce(
    (sum, { byteLength }) => sum + Math.min(byteLength, 4 * rows * cols),
    0,
  );
}
