/** Solves layers by `compressLayer()`, and checks that the results agree with the figures of the report. */

import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { compressLayer } from "../../src/layer/compress_layer.ts";
import type { LayerParameters } from "../../src/layer/methods.ts";
import { quadraticForm } from "../reference/hessian.ts";
import { assertClose } from "./assert_close.ts";
import { type HostLayer, readSolution, uploadHessian, uploadLayer } from "./layers.ts";
import { readRounded } from "./rounded_solutions.ts";

/** A layer with the matrices that a solve can have besides: statistics (cols, cols) and targets (rows, cols). */
export interface CompressedLayer extends HostLayer {
  readonly validation?: Float32Array;
  readonly target?: Float32Array<ArrayBuffer>;
  readonly validationTarget?: Float32Array<ArrayBuffer>;
}

const DEFAULTS: LayerParameters = {
  method: "sparsegpt",
  sparsity: 0.5,
  pattern: { kind: "unstructured" },
  relativeError: true,
  blocksize: 32,
  damping: 0.01,
};

/**
 * Solves a layer, frees everything, and asserts that nothing stays allocated. Also asserts that pruned and forced entries are 0, that
 * rounded weights are on their grids, and that the numbers of zeros and the errors of the report are those of the weights in float64. An
 * error may be null if a note says why. The errors on validation statistics are compared only without a target.
 * @param edge the edge of the tiles
 */
export async function compressHost(
  backend: Backend,
  host: CompressedLayer,
  changes: Partial<LayerParameters>,
  edge?: number,
) {
  const live = backend.counters.bytesLive, { rows, cols, weight, forced, target, validation } = host;
  const upload = (statistics?: Float32Array) => statistics && uploadHessian(backend, statistics, cols, edge);
  const layer = uploadLayer(backend, host, edge), hessian = upload(host.hessian), held = upload(validation);
  const targets = [target, host.validationTarget].map((values) =>
    values && uploadLayer(backend, { rows, cols, weight: values, hessian: host.hessian }, edge)
  );
  const [whole, gradient] = targets.map((matrix) => matrix?.weight);
  const operands = { layer, hessian, validation: held, target: whole, validationTarget: gradient };
  const parameters = { ...DEFAULTS, ...changes };
  const { solution, factor, report } = await compressLayer(backend, operands, parameters, () => 0);
  const { q, mask } = await readSolution(backend, solution);
  if (parameters.quantization) await readRounded(backend, solution, parameters.quantization);
  for (const resource of [solution, factor, layer, hessian, held, ...targets]) resource?.destroy();
  assert.equal(backend.counters.bytesLive, live, "bytes left allocated");

  mask.forEach((kept, i) => {
    if (!kept) assert.ok(Object.is(q[i], 0), `pruned entry ${i} is ${q[i]}`);
    if (forced?.[i]) assert.equal(kept, 0, `forced entry ${i} is kept`);
  });
  assert.equal(report.zeros, mask.reduce((sum, kept) => sum + 1 - kept, 0));
  const delta = Float64Array.from(q, (value, i) => weight[i] - value);
  const compare = (
    statistics: Float32Array,
    [loss, error]: readonly (number | null | undefined)[],
    tolerance: number,
  ) => {
    const expected = quadraticForm(delta, statistics, rows, cols);
    const figures = [[loss, expected], [
      error,
      expected / quadraticForm(weight, statistics, rows, cols),
    ]] as const;
    for (const [reported, exact] of figures) {
      if (reported === null) assert.ok(report.notes.length > 0, "an error without a value needs a note");
      else if (expected > 0) assertClose([reported!], [exact], tolerance, { label: "error" });
    }
  };
  compare(host.hessian, [report.loss, report.relative_error], 1e-3);
  if (validation && !target) compare(validation, [report.validation_loss, report.validation_error], 2e-4);
  return { q, mask, report, hasFactor: factor !== undefined };
}
