/**
 * Looks up kernels by name in the WebAssembly module and fills in their arguments: one pointer per binding, then the
 * parameters, in the order of the declaration. Rejects a dispatch that does not match its declaration.
 */

import type { Kernel, Scalar } from "../kernels/kernel.ts";
import { MAX_ARGS } from "./command_ring.ts";

/** A kernel's declaration together with its index in the module. */
interface ResolvedKernel {
  readonly index: number;
  /** The index of NAME_pack, which packs operands for the kernel NAME and has the same arguments, if the module has it. */
  readonly pack: number | undefined;
  readonly name: string;
  readonly bindings: readonly (readonly [name: string, writes: boolean])[];
  readonly params: readonly (readonly [name: string, type: Scalar])[];
}

/** The kernels of one module. */
export class KernelTable {
  readonly #indices: ReadonlyMap<string, number>;
  readonly #resolved = new WeakMap<object, ResolvedKernel>();
  /** The arguments of the dispatch that is being built. Both arrays view the same words. */
  readonly args = new Uint32Array(MAX_ARGS);
  readonly #floatArgs = new Float32Array(this.args.buffer);

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
        name: kernel.name,
        bindings: Object.entries(kernel.bindings).map(([name, access]) =>
          [name, access === "read_write"] as const
        ),
        params: Object.entries(kernel.params),
      };
      if (resolved.bindings.length + resolved.params.length > MAX_ARGS) {
        throw new Error(`kernel ${kernel.name} has more than ${MAX_ARGS} arguments`);
      }
      this.#resolved.set(kernel, resolved);
    }
    return resolved;
  }

  /**
   * Writes `params` to {@link args}, after the pointers of the bindings.
   * @throws {TypeError} if a parameter is missing or is not declared, or if the value of a u32 parameter is not a u32
   */
  setParams(kernel: ResolvedKernel, params: Readonly<Record<string, number>>): void {
    checkNames(kernel.name, "parameter", kernel.params, params);
    let word = kernel.bindings.length;
    for (const [name, type] of kernel.params) {
      const value = params[name];
      if (type === "f32") this.#floatArgs[word++] = value;
      else if (Number.isInteger(value) && value >= 0 && value <= 0xffffffff) this.args[word++] = value;
      else throw new TypeError(`kernel ${kernel.name}: parameter ${name} must be a u32, got ${value}`);
    }
  }
}

/** Checks that `given` has exactly the declared names. @throws {TypeError} */
export function checkNames(
  kernel: string,
  kind: "binding" | "parameter",
  declared: readonly (readonly [name: string, rest: unknown])[],
  given: Readonly<Record<string, unknown>>,
): void {
  for (const [name] of declared) {
    if (given[name] === undefined) throw new TypeError(`kernel ${kernel}: ${kind} ${name} is missing`);
  }
  const names = Object.keys(given);
  if (names.length === declared.length) return;
  const extra = names.find((name) => !declared.some(([declaredName]) => declaredName === name));
  throw new TypeError(`kernel ${kernel}: no ${kind} is named ${extra}`);
}
