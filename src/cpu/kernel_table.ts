/**
 * Turns a dispatch into a kernel index and an argument block: one pointer a binding, then the parameters, in declaration
 * order. This is where a dispatch is checked against its declaration.
 */

import type { Kernel, Scalar } from "../kernels/kernel.ts";
import { MAX_ARGS } from "./ring.ts";

/** A kernel's declaration, resolved against the module. */
export interface BoundKernel {
  readonly index: number;
  readonly name: string;
  readonly bindings: readonly (readonly [name: string, writes: boolean])[];
  readonly params: readonly (readonly [name: string, type: Scalar])[];
}

/** The kernels of one module. */
export class KernelTable {
  readonly #indices: ReadonlyMap<string, number>;
  readonly #bound = new WeakMap<object, BoundKernel>();
  /** The argument block being built, and the same words as f32. */
  readonly args = new Uint32Array(MAX_ARGS);
  readonly #floats = new Float32Array(this.args.buffer);

  /** @param names the module's kernels by index */
  constructor(names: readonly string[]) {
    this.#indices = new Map(names.map((name, index) => [name, index]));
  }

  /** The index of a kernel by its export's name. @throws {Error} when the module has no such export */
  index(name: string): number {
    const index = this.#indices.get(name);
    if (index === undefined) {
      throw new Error(
        `the cpu backend has no kernel ${name}: its module exports no ${name} and ${name}_items`,
      );
    }
    return index;
  }

  /** Looks a declaration up, once. @throws {Error} when it has no twin in the module */
  bind(kernel: Kernel): BoundKernel {
    let bound = this.#bound.get(kernel);
    if (!bound) {
      bound = {
        index: this.index(kernel.name),
        name: kernel.name,
        bindings: Object.entries(kernel.bindings).map(([name, access]) =>
          [name, access === "read_write"] as const
        ),
        params: Object.entries(kernel.params),
      };
      if (bound.bindings.length + bound.params.length > MAX_ARGS) {
        throw new Error(`kernel ${kernel.name} takes more than ${MAX_ARGS} arguments`);
      }
      this.#bound.set(kernel, bound);
    }
    return bound;
  }

  /**
   * Fills the argument block behind the pointers with `params`.
   * @throws {TypeError} on a parameter that is missing, not declared, or not a u32 where one is declared
   */
  setParams(bound: BoundKernel, params: Readonly<Record<string, number>>): void {
    checkNames(bound.name, "parameter", bound.params, params);
    let word = bound.bindings.length;
    for (const [name, type] of bound.params) {
      const value = params[name];
      if (type === "f32") this.#floats[word++] = value;
      else if (Number.isInteger(value) && value >= 0 && value <= 0xffffffff) this.args[word++] = value;
      else throw new TypeError(`kernel ${bound.name}: parameter ${name} is a u32, got ${value}`);
    }
  }
}

/** @throws {TypeError} when `given` has not exactly the names in `declared` */
export function checkNames(
  kernel: string,
  what: "binding" | "parameter",
  declared: readonly (readonly [name: string, rest: unknown])[],
  given: Readonly<Record<string, unknown>>,
): void {
  for (const [name] of declared) {
    if (given[name] === undefined) throw new TypeError(`kernel ${kernel}: ${what} ${name} is missing`);
  }
  const names = Object.keys(given);
  if (names.length === declared.length) return;
  const extra = names.find((name) => !declared.some(([known]) => known === name));
  throw new TypeError(`kernel ${kernel}: it has no ${what} ${extra}`);
}
