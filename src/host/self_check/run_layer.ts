import { type Backend, DeviceLostError, OutOfDeviceMemoryError } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import { readMatrix, TiledMatrix, tileEdgeFor, writeMatrix } from "../../device/tiled_matrix.ts";
import { compressLayer } from "../../layer/compress_layer.ts";
import { messageOf } from "../../base/errors.ts";
import { describeDifference, type ResultFingerprint } from "./fingerprint.ts";
import type { CaseFault } from "./run_case.ts";
import type { Values } from "../../device/kernels/kernel_case.ts";
import type { LayerCase } from "./layer_cases.ts";

/**
 * Solves a layer of the self-check and compares the results.
 * @returns the first wrong result, or undefined if all are right
 * @throws {DeviceLostError} {OutOfDeviceMemoryError}
 */
export async function runLayer(
  backend: Backend,
  layerCase: LayerCase,
  expected: Readonly<Record<string, ResultFingerprint>>,
): Promise<CaseFault | undefined> {
  const { name } = layerCase,
    fault = (message: string) => ({ subject: name, message: `${name}, ${message}` });
  let results: Record<string, Values>;
  try {
    results = await solve(backend, layerCase);
  } catch (error) {
    if (error instanceof DeviceLostError || error instanceof OutOfDeviceMemoryError) throw error;
    return fault(messageOf(error));
  }
  for (const [output, { binding, ...comparison }] of Object.entries(layerCase.outputs)) {
    const difference = describeDifference(results[binding], expected[output], comparison);
    if (difference !== undefined) return fault(`output ${output}: ${difference}`);
  }
}

async function solve(
  backend: Backend,
  { rows, cols, parameters, operands }: LayerCase,
): Promise<Record<string, Values>> {
  using owned = new ResourceSet();
  const { weight, hessian } = operands(), edge = tileEdgeFor(parameters.blocksize);
  const w = owned.add(new TiledMatrix(backend, { label: "self-check: weight", rows, cols, edge }));
  const statistics = { label: "self-check: statistics", rows: cols, cols, edge, storage: "upper" } as const;
  const h = owned.add(new TiledMatrix(backend, statistics));
  writeMatrix(backend, w, weight);
  writeMatrix(backend, h, hessian);
  const solved = await compressLayer(backend, { layer: { weight: w }, hessian: h }, parameters, () => 0);
  const { mask, q } = owned.add(solved.solution);
  if (solved.factor) owned.add(solved.factor);
  const { loss, relative_error, damping } = solved.report;
  return {
    weight: await readMatrix(backend, q),
    mask: new Uint32Array((await backend.read(mask, 0, mask.byteLength)).buffer),
    loss: Float32Array.of(loss ?? NaN),
    relative_error: Float32Array.of(relative_error ?? NaN),
    damping: Float32Array.of(damping ?? 0),
  };
}
