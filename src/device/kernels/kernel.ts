import type { KernelCase } from "./kernel_case.ts";

export type BindingAccess = "read" | "read_write";

/** The type of a parameter, in the uniform struct and in the arguments of the WebAssembly twin. */
export type Scalar = "u32" | "f32";

/** The number of workgroups along x, y and z, each at most 65535. */
export type Grid = readonly [x: number, y: number, z: number];

/** One WGSL implementation of a kernel. */
export interface ShaderVariant<P extends string = string> {
  /** WGSL source. `@group(0)` has the bindings of the declaration, in order, and then the struct of parameters. */
  readonly code: string;
  /** The name of the entry point. @default the name of the kernel */
  readonly entryPoint?: string;
  /** The bytes of workgroup memory that the shader needs. Adapters that have less do not use it. */
  readonly workgroupBytes?: number;
  /** Whether the adapter must have matrix units, for products of 16 × 16 × 16 elements in f16 with sums in f32. */
  readonly usesMatrixUnits?: boolean;
  readonly constants?: Readonly<Record<string, number>>;
  /** The grid of a dispatch with these parameters. If one of its extents is 0, the dispatch does nothing. */
  readonly grid: (params: Readonly<Record<P, number>>) => Grid;
}

/** How a kernel computes on an adapter whose `rounds` is `bfloat16`. */
export interface RoundedOperands<P extends string = string> {
  /**
   * The number of the first bindings that are rounded. The WebAssembly twin takes the addresses of their rounded copies
   * after the declared arguments. An address is 0 if the operand is not rounded.
   */
  readonly count: number;
  /** Whether the operands of a dispatch are rounded. By default they always are. */
  readonly isWorthwhile?: (params: Readonly<Record<P, number>>) => boolean;
  /** If the kernel rounds other numbers too, their error as a number of f32 roundings (`CaseOutput.roundings`). */
  readonly roundings?: number;
}

/** The contract of one kernel. `B` are the names of its bindings, and `P` the names of its parameters. */
export interface Kernel<B extends string = string, P extends string = string> {
  /** A unique name. The WebAssembly twin exports functions called `NAME` and `NAME_items`. */
  readonly name: string;
  /** How the kernel uses each buffer, in the order of the bindings. */
  readonly bindings: Readonly<Record<B, BindingAccess>>;
  /** The type of each parameter, in the order of the uniform struct. A parameter takes 4 bytes. */
  readonly params: Readonly<Record<P, Scalar>>;
  /** The shader for hardware adapters, and for software adapters if there is no `softwareShader`. */
  readonly shader: ShaderVariant<NoInfer<P>>;
  /** The shader for software adapters, if the kernel needs different code to be fast on the CPU. */
  readonly softwareShader?: ShaderVariant<NoInfer<P>>;
  /** Further shaders that compute the same results, by name. `device/webgpu/tuning.ts` chooses among them. */
  readonly variants?: Readonly<Record<string, ShaderVariant<NoInfer<P>>>>;
  /**
   * Returns the name of the variant for a dispatch on a hardware adapter, or undefined for `shader`, if no variant is
   * the fastest for all sizes. A tuning that names a variant is used for all sizes.
   */
  readonly variantFor?: (params: Readonly<Record<NoInfer<P>, number>>) => string | undefined;
  /** Present if an adapter whose `rounds` is `bfloat16` rounds operands of this kernel. */
  readonly rounded?: RoundedOperands<NoInfer<P>>;
  /**
   * Present if the WebAssembly twin can also write the last buffer's elements in bfloat16, so that a product need not round
   * them. The twin takes the address of this copy as its last argument. The address is 0 if no copy is wanted. The function
   * returns how many elements of the buffer, from its first one on, the dispatch rounds without a gap. If these are not
   * all elements of the buffer, the twin is given a copy that has the others already.
   */
  readonly roundedOutput?: (params: Readonly<Record<NoInfer<P>, number>>) => number;
  /** Dispatches with fixed operands by which the self-check decides whether a device computes this kernel correctly. */
  readonly cases: () => readonly KernelCase<NoInfer<B>, NoInfer<P>>[];
}

/** Returns the declaration unchanged. The names of its bindings and parameters become part of its type. */
export function defineKernel<B extends string, P extends string>(kernel: Kernel<B, P>): Kernel<B, P> {
  return kernel;
}

/** Declares parameters of the type u32. */
export function u32<P extends string>(...names: readonly P[]): Readonly<Record<P, "u32">> {
  return Object.fromEntries(names.map((name) => [name, "u32"])) as Readonly<Record<P, "u32">>;
}

/** Declares parameters of the type f32. */
export function f32<P extends string>(...names: readonly P[]): Readonly<Record<P, "f32">> {
  return Object.fromEntries(names.map((name) => [name, "f32"])) as Readonly<Record<P, "f32">>;
}

/** The largest extent of a grid along one axis, by WebGPU's default limits. */
const MAX_GRID_EXTENT = 65535;

/**
 * Returns the grid for a range of `count` elements if each workgroup handles `size` elements. A grid with more than
 * `MAX_GRID_EXTENT` workgroups is folded into two axes, and may then have a few workgroups past the end of the
 * range. Shaders compute the index of an element with `linear_index` of `shaders/shared/linear.wgsl`.
 */
export function linearGrid(count: number, size: number): Grid {
  const workgroups = Math.ceil(count / size);
  if (workgroups <= MAX_GRID_EXTENT) return [workgroups, 1, 1];
  const y = Math.ceil(workgroups / MAX_GRID_EXTENT);
  return [Math.ceil(workgroups / y), y, 1];
}

/** Returns a grid with one workgroup per row. */
export function rowGrid({ rows }: { readonly rows: number }): Grid {
  return [Math.min(rows, MAX_GRID_EXTENT), Math.ceil(rows / MAX_GRID_EXTENT), 1];
}
