/**
 * Checks that the error of an answer is the error that its report states. A wrong answer, such as the weight of another layer, has another
 * error, even if its zeros are right.
 */

import type { Report } from "../../protocol/messages.ts";
import type { FloatDtype } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { type ErrorForms, type Estimate, estimates, rowOf, type Rows } from "./error_forms.ts";
import { malformedLayer } from "./parse_answer.ts";

/** The largest accepted quotient of a measured and a reported error, apart from the deviation by the choice of samples (`DEVIATIONS`). */
const MOST = 1.3;

/**
 * The same for an estimate of the error of a layer of zeros. The outputs of the rows of such a layer are alike, so that
 * few random signs estimate the error badly.
 */
const MOST_OF_DENSE = 2;

/**
 * The number of standard deviations that the choice of samples explains. The error of a layer whose outputs have one direction has the
 * largest deviation. It then follows a χ² distribution with 32 degrees of freedom, of which a share of 10⁻¹⁰ is that large.
 */
const DEVIATIONS = 4;

/** The rounding error of a weight, as a share of its magnitude, and the smallest one. */
const ROUNDING: Readonly<Record<FloatDtype, readonly [relative: number, least: number]>> = {
  F32: [2 ** -20, 0],
  F16: [2 ** -11, 2 ** -25],
  BF16: [2 ** -8, 0],
};

/** The share of an error of independent inputs below which f32 may not resolve an error beside the damping. */
const UNRESOLVED = 1e-3;

/** Errors outside of this range may exceed the range of f32 during a solve. */
const SMALLEST = 2 ** -60, LARGEST = 2 ** 100;

/**
 * Compares the loss and the relative error of the report with the errors of the weight.
 * @param before the weight before the solve, (rows, cols)
 * @param after the weight of the answer, (rows, cols), with its removed columns
 * @param forms the statistics of the report
 * @throws {MalformedAnswerError} if they differ by more than the estimate and the dtype of the weight can explain
 */
export function checkError(
  before: HostTensor,
  after: HostTensor,
  { loss, relative_error: relative, damping }: Report,
  forms: ErrorForms,
): void {
  const [rows, cols] = before.shape, dense: Rows = { count: rows, row: (index) => rowOf(before, index) };
  const change: Rows = {
    count: rows,
    row(index) {
      const values = rowOf(after, index), old = dense.row(index);
      for (let col = 0; col < cols; col++) values[col] -= old[col];
      return values;
    },
  };
  if (loss === null) return checkMissingLoss(change, dense, damping, forms);
  const wrongLoss = disagreement(estimates(change, forms), loss, MOST, () => roundingOf(after, forms));
  if (wrongLoss !== undefined) {
    const measured = relative ? relative * wrongLoss / loss : wrongLoss;
    const [name, said] = relative ? ["relative error", relative] : ["loss", loss];
    throw malformedLayer(
      `its ${name} is ${measured.toPrecision(3)}, but its report says ${said.toPrecision(3)}`,
    );
  }
  if (!relative) return;
  const wrongForm = disagreement(estimates(dense, forms), loss / relative, MOST_OF_DENSE);
  if (wrongForm === undefined) return;
  const measured = (loss / wrongForm).toPrecision(3);
  throw malformedLayer(`its relative error is ${measured}, but its report says ${relative.toPrecision(3)}`);
}

/**
 * Returns the last estimate if none of the estimates agrees with the reported error.
 * @param mostOfEstimate the largest quotient of an error that is not exact
 * @param rounding computes the result of `roundingOf`, which few answers need
 */
function disagreement(
  measured: Iterable<Estimate>,
  reported: number,
  mostOfEstimate: number,
  rounding = () => 0,
): number | undefined {
  let last: number | undefined, slack: number | undefined;
  for (const { value, deviation, isExact } of measured) {
    const most = (isExact ? MOST : mostOfEstimate) * Math.exp(DEVIATIONS * deviation),
      root = Math.sqrt(value);
    // A sum of squares is more likely to be far below its expectation than far above.
    const least = Math.sqrt(reported) / most, largest = Math.sqrt(most * reported);
    if (root >= least && root <= largest) return;
    slack ??= rounding();
    if (root >= least - slack && root <= largest + slack) return;
    last = value;
  }
  return last;
}

/** A report has no loss only if f32 could not hold or resolve it. */
function checkMissingLoss(change: Rows, dense: Rows, damping: number | null, forms: ErrorForms): void {
  const lastOf = (m: Rows) => [...estimates(m, forms)].at(-1)!.value, loss = lastOf(change);
  if (!(loss > SMALLEST && loss < LARGEST)) return;
  const { diagonal } = forms, meanSquare = diagonal.reduce((sum, value) => sum + value, 0) / diagonal.length;
  let squares = 0;
  for (let row = 0; row < change.count; row++) for (const value of change.row(row)) squares += value * value;
  const damped = Math.max(1, damping ?? 0) * meanSquare * squares;
  if (loss <= UNRESOLVED * Math.max(damped, lastOf(dense))) return;
  throw malformedLayer(`its loss is ${loss.toPrecision(3)}, but its report has none`);
}

/** Returns √tr(M·H·Mᵀ) for rounding errors M of the largest size, which do not depend on each other. The report may leave them out. */
function roundingOf(after: HostTensor, { diagonal }: ErrorForms): number {
  const [relative, least] = ROUNDING[after.dtype as FloatDtype];
  let sum = 0;
  for (let row = 0; row < after.shape[0]; row++) {
    const values = rowOf(after, row);
    for (let i = 0; i < values.length; i++) sum += ((relative * values[i]) ** 2 + least ** 2) * diagonal[i];
  }
  return Math.sqrt(sum);
}
