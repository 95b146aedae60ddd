/** The types of the cases of the self-check: dispatches of kernels with fixed buffers and parameters. */

import type { Kernel } from "../kernels/kernel.ts";
import type { Values } from "./values.ts";

/** A part of the results of a dispatch that is compared with the committed numbers. */
export interface Output {
  readonly binding: string;
  /**
   * The number of consecutive f32 roundings on the way to an element. Each of them changes the element by at most 2⁻²⁴ of
   * the output's largest element, so this number times 2⁻²⁴ is the tolerance. Undefined if the bits must be equal.
   */
  readonly roundings?: number;
  /** Returns whether element i is compared. Without this function, all elements are compared. */
  readonly includes?: (index: number) => boolean;
}

/**
 * Returns the roundings of a sum of `terms` terms. The errors of single roundings cancel in part, so the error of the sum
 * grows with the square root of the number of terms. It stays below 8·√terms units except with a probability of 10⁻¹³
 * (Higham and Mary, SIAM Journal on Scientific Computing 41(5), 2019, theorem 2.4).
 */
export function sumRoundings(terms: number): number {
  return Math.ceil(8 * Math.sqrt(terms));
}

/** One dispatch of a case. */
export interface Step {
  readonly kernel: Kernel;
  readonly params: Readonly<Record<string, number>>;
  /** The names of the buffers that are bound, by the names of the kernel's bindings. */
  readonly buffers: Readonly<Record<string, string>>;
}

/** Dispatches with fixed operands, one after the other. */
export interface CheckCase {
  /** A name for messages, and the key of the committed numbers. Unique. */
  readonly name: string;
  /** The kernel that the case checks, or a description of several kernels. */
  readonly subject: string;
  readonly steps: readonly Step[];
  /** Returns the contents of all buffers before the first dispatch. */
  readonly buffers: () => Readonly<Record<string, Values>>;
  /** The compared results, by a name that is unique in the case. `Output.binding` is the name of a buffer. */
  readonly outputs: Readonly<Record<string, Output>>;
}

/** One dispatch of one kernel, whose buffers have the names of the kernel's bindings. */
export interface KernelCase extends CheckCase {
  readonly kernel: Kernel;
  readonly params: Readonly<Record<string, number>>;
}

/** The description of a case whose outputs are whole buffers. */
interface CaseOptions<B extends string, P extends string> {
  /** The feature that distinguishes this case from the other cases of the kernel. */
  readonly feature?: string;
  readonly params: Readonly<Record<P, number>>;
  readonly buffers: () => Readonly<Record<B, Values>>;
  /** `Output.roundings` of the buffers that hold rounded floats. The bits of the others must be equal. */
  readonly roundings?: Partial<Record<B, number>>;
  /** `Output.includes` of buffers in which some elements are unspecified. */
  readonly includes?: Partial<Record<B, (index: number) => boolean>>;
  /** Further outputs, or replacements of the outputs above. */
  readonly outputs?: Readonly<Record<string, Output>>;
}

/** Declares a case. Every buffer that the kernel writes is an output. */
export function defineCase<B extends string, P extends string>(
  kernel: Kernel<B, P>,
  { feature, params, buffers, roundings = {}, includes = {}, outputs = {} }: CaseOptions<B, P>,
): KernelCase {
  const written = (Object.keys(kernel.bindings) as B[]).filter((name) =>
    kernel.bindings[name] === "read_write"
  );
  const whole = written.map((name): [string, Output] => [name, {
    binding: name,
    roundings: (roundings as Partial<Record<B, number>>)[name],
    includes: (includes as Partial<Record<B, (index: number) => boolean>>)[name],
  }]);
  const plain = kernel as unknown as Kernel, names = Object.keys(kernel.bindings);
  return {
    name: feature ? `${kernel.name}, ${feature}` : kernel.name,
    subject: kernel.name,
    kernel: plain,
    params,
    steps: [{ kernel: plain, params, buffers: Object.fromEntries(names.map((name) => [name, name])) }],
    buffers,
    outputs: { ...Object.fromEntries(whole), ...outputs },
  };
}
