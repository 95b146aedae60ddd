/**
 * Estimates errors of a layer, tr(M·H·Mᵀ) for a matrix M and the statistics H, with a count sketch: each row of M is added to one of four sums,
 * with a random sign. The expectation of S·H·Sᵀ, added up over the sums S, is the trace. The variance is the same as with as many rows of random
 * signs (Hutchinson), but every entry of M is added once.
 */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import { BYTES_PER_ELEMENT, bytesToFloats, type FloatDtype } from "../../tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../tensor/host_tensor.ts";
import type { LayerTensors } from "../layer_file.ts";

/** Rows with n entries each. The loops below are written out for four. */
type Panel = readonly [Float64Array, Float64Array, Float64Array, Float64Array];

/** The number of rows of a panel. */
const PANEL = 4;

/** Statistics H of a layer with n inputs. */
export interface ErrorForms {
  /** The number of terms of an error: one per sampled input, or 1 if H is known. */
  readonly terms: number;
  /** Adds the terms of Σ v·H·vᵀ over the rows v of a panel. */
  addTo(terms: Float64Array, panel: Panel): void;
  /** The diagonal of H. */
  readonly diagonal: Float64Array;
}

/** The kind of the tensor `inputs`. */
export interface InputOptions {
  readonly tokenWeights?: LayerQuery["token_weights"];
  /** Whether they are random combinations of the calibration inputs. */
  readonly areSampled?: boolean;
}

/** Returns the statistics of a request, or undefined if it has none. */
export function errorForms(
  { hessian, hessian_upper, inputs }: Pick<LayerTensors, "hessian" | "hessian_upper" | "inputs">,
  cols: number,
  options: InputOptions,
): ErrorForms | undefined {
  if (inputs) return inputForms(inputs, cols, options);
  const matrix = hessian_upper ?? hessian;
  return matrix && hessianForms(asFloat32(matrix.data), cols, hessian_upper !== undefined);
}

/** @param isPacked whether `h` is the upper triangle, row by row. Otherwise it is the whole matrix, of which the same entries are read */
function hessianForms(h: Float32Array, n: number, isPacked: boolean): ErrorForms {
  const startOf = (i: number) => isPacked ? i * n - i * (i - 1) / 2 : i * (n + 1);
  return {
    diagonal: Float64Array.from({ length: n }, (_, i) => h[startOf(i)]),
    terms: 1,
    addTo(terms, [v, w, y, z]) {
      for (let i = 0; i < n; i++) {
        let at = startOf(i);
        // The diagonal counts once, and every other entry twice.
        const half = h[at++] / 2;
        let a = half * v[i], b = half * w[i], c = half * y[i], d = half * z[i];
        for (let j = i + 1; j < n; j++) {
          const x = h[at++];
          a += x * v[j];
          b += x * w[j];
          c += x * y[j];
          d += x * z[j];
        }
        terms[0] += 2 * (a * v[i] + b * w[i] + c * y[i] + d * z[i]);
      }
    },
  };
}

function inputForms(
  inputs: HostTensor,
  n: number,
  { tokenWeights, areSampled }: InputOptions,
): ErrorForms {
  const diagonal = new Float64Array(n), [tokens] = inputs.shape;
  const weights = Float64Array.from({ length: tokens }, (_, token) => {
    const x = rowOf(inputs, token);
    const weight = tokenWeights === "unit" ? 1 / (meanSquare(x) + LEAST_SQUARE) : 1;
    for (let j = 0; j < n; j++) diagonal[j] += weight * x[j] ** 2;
    return weight;
  });
  return {
    diagonal,
    terms: areSampled ? tokens : 1,
    addTo(terms, [v, w, y, z]) {
      for (let token = 0; token < tokens; token++) {
        const x = rowOf(inputs, token);
        let a = 0, b = 0, c = 0, d = 0;
        for (let i = 0; i < n; i++) {
          const value = x[i];
          a += value * v[i];
          b += value * w[i];
          c += value * y[i];
          d += value * z[i];
        }
        terms[areSampled ? token : 0] += weights[token] * (a * a + b * b + c * c + d * d);
      }
    },
  };
}

/** Added to the mean square of an input, as by the host. */
const LEAST_SQUARE = 1e-30;

function meanSquare(x: Float32Array): number {
  return x.reduce((sum, value) => sum + value * value, 0) / x.length;
}

/** A matrix M, (rows, n), of which one row is read at a time. */
export interface Rows {
  readonly count: number;
  row(index: number): Float32Array;
}

/** An estimate of tr(M·H·Mᵀ). */
export interface Estimate {
  readonly value: number;
  /** The standard deviation by the choice of the sampled inputs, as a share of the value. 0 if H is known. */
  readonly deviation: number;
  /** Whether the value depends on no random signs. */
  readonly isExact: boolean;
}

/**
 * Yields better and better estimates of tr(M·H·Mᵀ): by a sketch with 4 sums, by two sketches, by four and so on. If the inputs are
 * sampled, the first estimate has four sketches. The last estimate uses the rows
 * of M themselves, and so is exact, unless M has more than `MOST_SKETCHES` · 4 rows.
 */
export function* estimates(m: Rows, forms: ErrorForms): Generator<Estimate, void, undefined> {
  const n = forms.diagonal.length;
  let terms = new Float64Array(forms.terms);
  const estimate = (sketches: number): Estimate => {
    const sum = terms.reduce((total, term) => total + term, 0), mean = sum / terms.length;
    const squares = terms.reduce((total, term) => total + (term - mean) ** 2, 0);
    return {
      value: sum / Math.max(1, sketches),
      deviation: sum > 0 ? Math.sqrt(squares / Math.max(1, terms.length - 1) / terms.length) / mean : 0,
      isExact: sketches === 0,
    };
  };
  // The choice of samples makes the bounds wide, so the sketches should add little to the deviation.
  const first = forms.terms > 1 ? 4 : 1;
  for (let wanted = first, made = 0; PANEL * wanted < m.count && wanted <= MOST_SKETCHES; wanted *= 2) {
    for (; made < wanted; made++) forms.addTo(terms, sketch(m, n));
    yield estimate(made);
  }
  if (m.count > PANEL * MOST_SKETCHES) return;
  terms = new Float64Array(forms.terms);
  for (let first = 0; first < m.count; first += PANEL) {
    const panel = emptyPanel(n);
    for (let index = first; index < Math.min(m.count, first + PANEL); index++) {
      panel[index - first].set(m.row(index));
    }
    forms.addTo(terms, panel);
  }
  yield estimate(0);
}

/** The most sketches. The standard deviation of an estimate by 1024 sums is at most √(2/1024), which is 4.4 %. */
const MOST_SKETCHES = 256;

/** Adds each row of M to one of the rows of a panel, with a random sign. */
function sketch({ count, row }: Rows, n: number): Panel {
  const panel = emptyPanel(n), random = crypto.getRandomValues(new Uint8Array(Math.min(count, 2 ** 16)));
  for (let index = 0; index < count; index++) {
    const at = index % random.length;
    if (at === 0 && index > 0) crypto.getRandomValues(random);
    addTo(panel[random[at] >> 1 & 3], row(index), (random[at] & 1) * 2 - 1);
  }
  return panel;
}

function addTo(sum: Float64Array, values: Float32Array, sign: number): void {
  for (let i = 0; i < values.length; i++) sum[i] += sign * values[i];
}

function emptyPanel(n: number): Panel {
  return [new Float64Array(n), new Float64Array(n), new Float64Array(n), new Float64Array(n)];
}

/** Returns a row of a matrix of floats. */
export function rowOf({ dtype, shape: [, cols], data }: HostTensor, row: number): Float32Array {
  const bytes = cols * BYTES_PER_ELEMENT[dtype];
  return bytesToFloats(data.subarray(row * bytes, (row + 1) * bytes), dtype as FloatDtype);
}
