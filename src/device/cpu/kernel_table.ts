/**
 * Looks up kernels by name in the WebAssembly module. Their arguments are one pointer per binding, then the parameters,
 * in the order of the declaration.
 */

import type { Kernel } from "../kernels/kernel.ts";
import { MAX_ARGS } from "./command_ring.ts";

/** The indices of a kernel in the module. */
interface ResolvedKernel {
  readonly index: number;
  /** The index of NAME_pack, which packs operands for the kernel NAME and has the same arguments, if the module has it. */
  readonly pack: number | undefined;
}

/** The kernels of one module. */
export class KernelTable {
  readonly #indices: ReadonlyMap<string, number>;
  readonly #resolved = new WeakMap<object, ResolvedKernel>();
  /** The arguments of the dispatch that is being built. Both arrays view the same words. */
  readonly args = new Uint32Array(MAX_ARGS);
  readonly floatArgs = new Float32Array(this.args.buffer);

  /** @param names the module's kernels by index */
  constructor(names: readonly string[]) {
    this.#indices = new Map(names.map((name, index) => [name, index]));
  }

  /** The index of a kernel. @throws {Error} if the module has no kernel of this name */
  index(name: string): number {
    const index = this.#indices.get(name);
    if (index === undefined) {
      throw new Error(
        `the cpu backend has no kernel ${name}: its module does not export both ${name} and ${name}_items`,
      );
    }
    return index;
  }

  /**
   * Finds the kernel of a declaration. Each declaration is resolved once.
   * @throws {Error} if the module has no kernel of this name, or the kernel has more than {@link MAX_ARGS} arguments
   */
  resolve(kernel: Kernel): ResolvedKernel {
    let resolved = this.#resolved.get(kernel);
    if (!resolved) {
      resolved = {
        index: this.index(kernel.name),
        pack: this.#indices.get(`${kernel.name}_pack`),
      };
      if (Object.keys(kernel.bindings).length + Object.keys(kernel.params).length > MAX_ARGS) {
        throw new Error(`kernel ${kernel.name} has more than ${MAX_ARGS} arguments`);
      }
      this.#resolved.set(kernel, resolved);
    }
    return resolved;
  }
}
