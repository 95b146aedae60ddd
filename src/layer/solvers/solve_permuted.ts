/**
 * Permutes the columns of a layer, solves the permuted layer, and undoes the permutation in the solution. This is
 * needed only for layers that are rounded in activation order (`layer/linalg/column_order.ts`).
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import { type ColumnOrder, permuteBits, permuteColumns } from "../linalg/column_order.ts";
import { allocateLike } from "../linalg/tile_arithmetic.ts";
import type { ForcedEntries, Layer, Solution } from "./solver.ts";

/**
 * Permutes `layer` and `fixedMask`, calls `solve` with them, and permutes the solution back. `layer.weight` becomes
 * Δ = W − Q in the natural order.
 * @param solve solves a layer whose columns have the given order
 * @throws {OutOfDeviceMemoryError} and the errors of `solve`. Everything that was allocated is freed.
 */
export async function solvePermuted(
  backend: Backend,
  layer: Layer,
  order: ColumnOrder,
  fixedMask: DeviceBuffer | undefined,
  solve: (permuted: Layer, fixedMask: DeviceBuffer | undefined) => Promise<Solution>,
): Promise<Solution> {
  const scratch = new ResourceSet(), results = new ResourceSet();
  try {
    const weight = scratch.add(allocateLike(backend, layer.weight, "weight in another order"));
    permuteColumns(backend, layer.weight, order.forward, weight);
    const permute = (bits: DeviceBuffer) =>
      scratch.add(permuteBits(backend, bits, order.forward, layer.weight));
    const forced: ForcedEntries | undefined = layer.forced && {
      bits: permute(layer.forced.bits),
      perColumn: order.columns.map((column) => layer.forced!.perColumn[column]),
    };
    const solution = scratch.add(await solve({ weight, forced }, fixedMask && permute(fixedMask)));
    permuteColumns(backend, weight, order.inverse, layer.weight);
    const q = results.add(allocateLike(backend, solution.q, "q"));
    permuteColumns(backend, solution.q, order.inverse, q);
    const mask = results.add(permuteBits(backend, solution.mask, order.inverse, q));
    const grids = solution.quantized;
    // The grids belong to whole rows, so they are the same in every order.
    const quantized = grids && {
      ...grids,
      scales: results.add(copyOf(backend, grids.scales)),
      zeros: results.add(copyOf(backend, grids.zeros)),
    };
    return { ...solution, q, mask, quantized, destroy: () => results.destroy() };
  } catch (error) {
    results.destroy();
    throw error;
  } finally {
    scratch.destroy();
  }
}

/** Returns a new buffer, and queues copying the contents of `buffer` to it. */
function copyOf(backend: Backend, buffer: DeviceBuffer): DeviceBuffer {
  const copy = backend.createBuffer(buffer.label, buffer.byteLength);
  backend.copy(buffer, 0, copy, 0, buffer.byteLength);
  return copy;
}
