/** Checks before the first calibration that the weights of a run are finite. Otherwise a run of hours could end in its last block. */

import { copyBytes } from "../../base/files/chunks.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { isScannable, TensorScan } from "../../model/checkpoint/inspect/tensor_scan.ts";
import type { TensorSource } from "../../model/checkpoint/tensor_source.ts";
import { tensorBytes } from "../../tensor/dtype.ts";

/** Reads the tensors with these names. @throws {ModelError} if an entry is NaN or infinite */
export async function requireFiniteWeights(
  weights: TensorSource,
  names: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  for (const name of names) {
    const { dtype, shape } = weights.info(name);
    if (!isScannable(dtype)) continue;
    const scan = new TensorScan(dtype, shape);
    await copyBytes(
      (offset, length) => weights.read(name, offset, length),
      (_, bytes) => Promise.resolve(scan.add(bytes)),
      tensorBytes(dtype, shape),
      signal,
    );
    const first = scan.result.firstNonFinite;
    if (first === null) continue;
    const columns = shape[shape.length - 1], position = [Math.floor(first / columns), first % columns];
    throw new ModelError(
      `${name}: entry [${position.join(", ")}] is NaN or infinite, so the checkpoint is damaged`,
    );
  }
}
