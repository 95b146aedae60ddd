/**
 * The simplest result with a given mask: the kept weights have their original values, or the nearest values of their grids if they are
 * rounded. No weight compensates for the error of another.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { ResourceSet } from "../../device/owned.ts";
import { splitIntoPanels, type TiledMatrix } from "../../device/tiled_matrix.ts";
import type { QuantizationOptions } from "../../tensor/quantization.ts";
import { allocateLike, copyMasked } from "../linalg/tile_arithmetic.ts";
import { JointPass } from "./rounding/joint_pass.ts";
import { KEEP_ALL, type Solution } from "./solver.ts";
import { SolveWorkspace } from "./solve_workspace.ts";

export type NearestWeights = Pick<Solution, "q" | "mask" | "quantized" | "destroy">;

export interface NearestOptions {
  /** The number of columns per block, a multiple of the group size of the grids. */
  readonly blocksize: number;
  readonly quantization?: QuantizationOptions;
}

/**
 * Queues computing the weights.
 * @param original the weights W. They are not changed
 * @param scratch a matrix with the shape and tiling of `original`, which is overwritten
 * @param mask the entries to keep, in the layout of `Solution.mask`. The caller keeps it, and the result has the same mask
 * @throws {OutOfDeviceMemoryError} Nothing stays allocated then
 */
export function nearestWeights(
  backend: Backend,
  original: TiledMatrix,
  scratch: TiledMatrix,
  mask: DeviceBuffer,
  { blocksize, quantization }: NearestOptions,
): NearestWeights {
  if (!quantization) {
    const q = allocateLike(backend, original, "original weights on a mask");
    copyMasked(backend, original, q, mask);
    return { q, mask, destroy: () => q.destroy() };
  }
  copyMasked(backend, original, scratch, mask);
  using owned = new ResourceSet(), unsolved = new ResourceSet();
  const workspace = unsolved.add(new SolveWorkspace(backend, { weight: scratch }, blocksize));
  // The identity spreads no error from one column to the others.
  const identity = new Float32Array(blocksize * blocksize);
  for (let i = 0; i < blocksize; i++) identity[i * blocksize + i] = 1;
  const inverse = {
    buffer: owned.add(createBufferOf(backend, "identity", identity)),
    offset: 0,
    ld: blocksize,
  };
  const scale = owned.add(createBufferOf(backend, "ones", new Float32Array(original.cols).fill(1)));
  const options = { ...KEEP_ALL, fixedMask: mask };
  const joint = new JointPass(backend, workspace, scale, quantization, options);
  for (const block of splitIntoPanels(original.cols, original.edge, blocksize)) {
    workspace.load(block);
    joint.run(block, inverse);
  }
  unsolved.move();
  workspace.destroyScratch();
  workspace.mask.destroy();
  const { q } = workspace;
  const destroy = () => {
    q.destroy();
    joint.destroy();
  };
  return { q, mask, quantized: joint.grids, destroy };
}
