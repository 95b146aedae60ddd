/**
 * What a kernel is. A declaration is the contract of one kernel: its bindings with their access, its
 * parameters, and its grid. Four files share its stem: the declaration here, the shader in `shaders/`, the
 * WebAssembly twin in `src/cpu/assembly/` and the test in `tests/kernels/`. A declaration runs nothing;
 * a `Backend` does.
 */

import type { LoopCount } from "./loop_count.ts";

/** How a kernel uses a buffer. */
export type Access = "read" | "read_write";

/** The type of a parameter, in the uniform struct and in the twin's argument block alike. */
export type Scalar = "u32" | "f32";

/** Workgroups along x, y and z. Each is at most 65535. */
export type Grid = readonly [x: number, y: number, z: number];

/** One WGSL implementation of a kernel. */
export interface ShaderVariant<P extends string = string> {
  /** WGSL source. Bindings sit in `@group(0)` in declaration order; the uniform `Params` struct comes last. */
  readonly code: string;
  readonly entryPoint: string;
  /** Pipeline-overridable constants. */
  readonly constants?: Readonly<Record<string, number>>;
  /** The grid for one dispatch. A zero extent skips the dispatch. */
  readonly grid: (params: Readonly<Record<P, number>>) => Grid;
  /**
   * The loop iterations of one invocation in the worst case. Required if the shader has loops and software adapters run it. A dispatch
   * must stay under `MAX_LOOP_ITERATIONS` there, and the WebGPU backend refuses one that does not.
   */
  readonly loops?: (params: Readonly<Record<P, number>>) => LoopCount;
}

/** The contract of one kernel: `B` its binding names, `P` its parameter names. */
export interface Kernel<B extends string = string, P extends string = string> {
  /** Unique; also the export of the WebAssembly twin (`NAME` and `NAME_items`). */
  readonly name: string;
  /** Buffers in binding order. */
  readonly bindings: Readonly<Record<B, Access>>;
  /** Scalars in struct order, 4 bytes each. */
  readonly params: Readonly<Record<P, Scalar>>;
  /** For hardware adapters. */
  readonly shader: ShaderVariant<NoInfer<P>>;
  /** For software adapters, where another tiling is faster. Absent: `shader` serves both. */
  readonly softwareShader?: ShaderVariant<NoInfer<P>>;
  /** Other ways to compute the same, by name. Which is fastest on an adapter is measured, not known (`webgpu/tuning.ts`). */
  readonly variants?: Readonly<Record<string, ShaderVariant<NoInfer<P>>>>;
}

/** Checks and types a declaration. */
export function defineKernel<B extends string, P extends string>(kernel: Kernel<B, P>): Kernel<B, P> {
  return kernel;
}

/** The largest extent of a grid along one axis, by the WebGPU default limits. */
export const MAX_GRID_EXTENT = 65535;

/**
 * A grid of at least `count / size` workgroups of `size` invocations for a one-dimensional problem, folded
 * into two axes past {@link MAX_GRID_EXTENT}. The shader side is `linear_index` in `shaders/shared/linear.wgsl`.
 */
export function linearGrid(count: number, size: number): Grid {
  const groups = Math.ceil(count / size);
  if (groups <= MAX_GRID_EXTENT) return [groups, 1, 1];
  const y = Math.ceil(groups / MAX_GRID_EXTENT);
  return [Math.ceil(groups / y), y, 1];
}
