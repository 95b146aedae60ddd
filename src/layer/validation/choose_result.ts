/**
 * Compares the result of a method with the two simplest ones by the validation statistics. The first is
 * `nearestWeights`, which keeps the mask of the method, so each row chooses for itself. The second prunes by magnitude.
 * Its rows have other numbers of zeros than the rows of the method, so it replaces the layer as a whole. To measure a
 * whole layer takes as long as to solve it with SparseGPT, so some rows decide first which of the two are worth it
 * (`sampleCandidates`).
 */

import type { Backend } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { IndexRange, TiledMatrix } from "../../device/tiled_matrix.ts";
import { METHODS } from "../../protocol/methods.ts";
import { total } from "../linalg/quadratic_form.ts";
import { addScaled, copyMatrix } from "../linalg/tile_arithmetic.ts";
import type { LayerParameters, MethodResult, SolveTask } from "../methods.ts";
import { isSampled, sampleBits, sampleMatrix, sampleRows } from "./row_sample.ts";
import { solveMagnitude } from "../solvers/magnitude.ts";
import { type NearestWeights, nearestWeights } from "../solvers/nearest_weights.ts";
import { ScaledLoss } from "../solvers/scaled_statistics.ts";
import { type ForcedEntries, FormSums, type Solution } from "../solvers/solver.ts";
import { type ValidationFigures, ValidationLoss } from "../solvers/validation_loss.ts";

/**
 * Returns the result with the smallest validation loss. Of equal losses, the result of the method is returned. Frees the others,
 * and `result` too if it throws.
 * @param task its `operands.layer.weight` is overwritten
 * @throws {OutOfDeviceMemoryError} {DeviceLostError} and the errors of `scaleStatistics`
 */
export async function chooseResult(
  task: SolveTask,
  validation: ValidationLoss,
  result: MethodResult,
): Promise<MethodResult> {
  const { parameters } = task, { relativeError } = parameters;
  let { solution } = result;
  using unused = new ResourceSet();
  try {
    const notes = [...result.notes], losses = await validation.rows(solution);
    const candidates = await sampleCandidates(task, validation, solution, losses);
    let nearestRows = candidates.nearest ? await useNearestRows(task, validation, solution, losses) : 0;
    let loss = total(losses);
    if (nearestRows > 0) notes.push(nearestNote(nearestRows, solution.q.rows, parameters));
    let choice: ValidationFigures["choice"] = "method";
    if (candidates.magnitude) {
      const { backend, operands: { layer: { weight: scratch, forced } } } = task;
      const other = await magnitudeResult({ backend, parameters, scratch, forced }, validation);
      const otherLoss = other.loss;
      const isBetter = otherLoss < loss;
      unused.add(isBetter ? solution : other.solution);
      if (isBetter) {
        notes.push(
          "The mask of magnitude was used, because its validation loss was smaller than that of the method.",
        );
        [solution, loss, choice, nearestRows] = [other.solution, otherLoss, "magnitude", 0];
      }
    }
    const { unshrunk } = task.operands;
    if (unshrunk) {
      solution = {
        ...solution,
        rowErrors: undefined,
        ...await unshrunkForms(task, unshrunk, validation, solution),
      };
    } else if (choice !== "method" || nearestRows > 0) {
      const { weightForm } = result.solution;
      solution = {
        ...solution,
        rowErrors: undefined,
        weightForm,
        loss: await calibrationLoss(task, validation, solution),
      };
    }
    const weightForm = relativeError ? await validation.weightForm() : null;
    const { largestDiagonal } = validation;
    return {
      ...result,
      solution,
      notes,
      validation: { loss, weightForm, choice, nearestRows, largestDiagonal },
    };
  } catch (error) {
    solution.destroy();
    throw error;
  }
}

/** Which of the simple results may be better than the result of the method. */
interface Candidates {
  readonly nearest: boolean;
  readonly magnitude: boolean;
}

/** A layer is compared as a whole at once if it has fewer rows, because its sample would be a large part of it. */
const SMALLEST_SAMPLED_LAYER = 256;
/** Magnitude is not measured on the whole layer if it raises the loss of the sample by more than this part. */
const LARGEST_RISE = 0.5;
/** The nearest weights are not worth it if they would lower the loss of the sample by less than this part. */
const SMALLEST_GAIN = 0.01;

/**
 * Compares the results on a sample of the rows, and returns which of them may improve the whole layer noticeably.
 * @param losses the shares of all rows of `solution` in its validation loss
 */
async function sampleCandidates(
  { backend, parameters, operands }: SolveTask,
  validation: ValidationLoss,
  solution: Solution,
  losses: Float32Array,
): Promise<Candidates> {
  const candidates = { nearest: !keepsWeights(parameters), magnitude: !hasNoMagnitude(parameters) };
  if (losses.length < SMALLEST_SAMPLED_LAYER || !candidates.nearest && !candidates.magnitude) {
    return candidates;
  }
  using owned = new ResourceSet();
  const { forced } = operands.layer, layer = { weight: validation.weight, forced };
  const sample = owned.add(await sampleRows(backend, layer)), scratch = sample.weight;
  const { validation: heldOut, validationGradient: whole } = operands;
  const gradient = whole && {
    gradient: owned.add(sampleMatrix(backend, whole.gradient)),
    original: whole.original && owned.add(sampleMatrix(backend, whole.original)),
  };
  const sampled = owned.add(await ValidationLoss.open(backend, scratch, heldOut!, gradient));
  const sampledLosses = losses.filter((_, row) => isSampled(row, losses.length));
  const size = total(sampledLosses.map(Math.abs)); // With a target, a loss can be negative.
  if (candidates.magnitude) {
    const task = { backend, parameters, scratch, forced: sample.forced };
    const magnitude = await magnitudeResult(task, sampled);
    magnitude.solution.destroy();
    candidates.magnitude = !(magnitude.loss - total(sampledLosses) > LARGEST_RISE * size);
  }
  if (candidates.nearest) {
    const mask = owned.add(sampleBits(backend, solution.mask, layer.weight));
    const nearest = owned.add(nearestWeights(backend, sampled.weight, scratch, mask, parameters));
    const nearestLosses = await sampled.rows(nearest);
    const gains = sampledLosses.map((loss, i) => Math.max(0, loss - nearestLosses[i]));
    candidates.nearest = !(total(gains) <= SMALLEST_GAIN * size);
  }
  return candidates;
}

/** Whether the layer has no separate result by magnitude: magnitude made the mask, nothing is pruned, or whole columns are removed. */
function hasNoMagnitude({ method, pattern, sparsity }: LayerParameters): boolean {
  const prunesNothing = pattern.kind === "unstructured" && sparsity === 0;
  return prunesNothing || pattern.kind === "columns" || method === "magnitude" ||
    METHODS[method].refitOf === "magnitude";
}

/** Whether the kept weights of the result have their original values. */
function keepsWeights({ method, refitSteps = 0, quantization }: LayerParameters): boolean {
  return METHODS[method].keepsWeights === true && refitSteps === 0 && !quantization;
}

/**
 * Replaces the rows of `solution` in which the nearest weights on its mask have the smaller validation loss, and their
 * entries in `losses`. Returns their number.
 */
async function useNearestRows(
  { backend, operands: { layer }, parameters }: SolveTask,
  validation: ValidationLoss,
  solution: Solution,
  losses: Float32Array,
): Promise<number> {
  using scratch = new ResourceSet();
  const nearest = scratch.add(
    nearestWeights(backend, validation.weight, layer.weight, solution.mask, parameters),
  );
  const nearestLosses = await validation.rows(nearest);
  const runs = runsWhere(losses.length, (row) => nearestLosses[row] < losses[row]);
  for (const { start, end } of runs) losses.set(nearestLosses.subarray(start, end), start);
  copyRunsOfRows(backend, nearest, solution, runs);
  return runs.reduce((sum, { start, end }) => sum + end - start, 0);
}

/** Returns the ranges of consecutive indices below `count` that fulfil a condition. */
function runsWhere(count: number, fulfil: (index: number) => boolean): IndexRange[] {
  const runs: { start: number; end: number }[] = [];
  for (let index = 0; index < count; index++) {
    if (!fulfil(index)) continue;
    const last = runs.at(-1);
    if (last?.end === index) last.end++;
    else runs.push({ start: index, end: index + 1 });
  }
  return runs;
}

/** Queues copying the weights and the grids of some rows. Both have the same mask. */
function copyRunsOfRows(
  backend: Backend,
  from: NearestWeights,
  to: Solution,
  runs: readonly IndexRange[],
): void {
  const tilesOfTarget = to.q.tiles();
  for (const { buffer, row0, rows, ld } of from.q.tiles()) {
    const target = tilesOfTarget.next().value!.buffer;
    for (const run of runs) {
      const start = Math.max(run.start, row0), count = Math.min(run.end, row0 + rows) - start;
      const offset = 4 * (start - row0) * ld;
      if (count > 0) backend.copy(buffer, offset, target, offset, 4 * count * ld);
    }
  }
  const grids = from.quantized;
  if (!grids) return;
  for (const name of ["scales", "zeros"] as const) {
    for (const { start, end } of runs) {
      const offset = 4 * start * grids.groups;
      backend.copy(grids[name], offset, to.quantized![name], offset, 4 * (end - start) * grids.groups);
    }
  }
}

function nearestNote(nearestRows: number, rows: number, { quantization }: LayerParameters): string {
  const values = quantization ? "their original weights rounded to nearest" : "their original weights";
  return `${nearestRows} of ${rows} rows have ${values} on the mask, because their validation loss was smaller.`;
}

interface MagnitudeTask extends Pick<SolveTask, "backend" | "parameters"> {
  /** A matrix with the shape and tiling of the weights, which is overwritten. */
  readonly scratch: TiledMatrix;
  readonly forced?: ForcedEntries;
}

/** Prunes the original weights by magnitude, and rounds them to nearest if the parameters ask for rounding. */
async function magnitudeResult(
  { backend, parameters, scratch, forced }: MagnitudeTask,
  validation: ValidationLoss,
): Promise<{ readonly solution: Solution; readonly loss: number }> {
  copyMatrix(backend, validation.weight, scratch);
  const options = { ...parameters, relativeError: false };
  using unsolved = new ResourceSet();
  const pruned = unsolved.add(
    await solveMagnitude(backend, { weight: scratch, forced }, undefined, options),
  );
  let solution = pruned;
  if (parameters.quantization) {
    const nearest = nearestWeights(backend, validation.weight, scratch, pruned.mask, parameters);
    pruned.q.destroy();
    const destroy = () => {
      nearest.destroy();
      pruned.destroy();
    };
    solution = { ...pruned, ...nearest, destroy };
  }
  unsolved.add(solution);
  const loss = await validation.measure(solution);
  unsolved.move();
  return { solution, loss };
}

/** Computes tr(Δ·H·Δᵀ) of a result and tr(W·H·Wᵀ) for statistics H that were shrunk for the solve. */
async function unshrunkForms(
  { backend, operands: { layer: { weight } }, parameters: { relativeError } }: SolveTask,
  unshrunk: TiledMatrix,
  validation: ValidationLoss,
  { q, mask }: Solution,
): Promise<Pick<Solution, "loss" | "weightForm">> {
  using scratch = new ResourceSet();
  const forms = scratch.add(new FormSums(backend, weight, unshrunk));
  copyMatrix(backend, validation.weight, weight);
  if (relativeError) forms.measureWeight();
  addScaled(backend, q, -1, weight, mask);
  return await forms.measureError();
}

/** Computes tr(Δ·H·Δᵀ) of a result, or null without calibration statistics. */
async function calibrationLoss(
  { backend, operands: { layer, hessian }, scaledStatistics }: SolveTask,
  validation: ValidationLoss,
  { q, mask }: Solution,
): Promise<number | null> {
  if (!hessian) return null;
  const delta = layer.weight;
  copyMatrix(backend, validation.weight, delta);
  addScaled(backend, q, -1, delta, mask);
  using scratch = new ResourceSet();
  const measure = scratch.add(new ScaledLoss(backend, await scaledStatistics(), delta));
  return (await measure.read(delta, measure.queue(delta))).loss;
}
