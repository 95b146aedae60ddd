/**
 * Estimates errors of a layer, tr(M·H·Mᵀ) for a matrix M and the statistics H, by the method of Hutchinson: for a row s of random signs, the
 * expectation of (s·M)·H·(s·M)ᵀ is the trace. A panel of eight such rows costs a small share of the solve.
 */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import { BYTES_PER_ELEMENT, bytesToFloats, type FloatDtype } from "../../tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../tensor/host_tensor.ts";
import type { LayerTensors } from "../layer_file.ts";

/** The number of rows of a panel. The loops below are written out for it. */
const PANEL = 8;

/** Statistics H of a layer with n inputs. */
export interface ErrorForms {
  /** The number of terms of an error: one per sampled input, or 1 if H is known. */
  readonly terms: number;
  /** Adds the terms of Σ v·H·vᵀ over the columns v of a panel, (n, PANEL). */
  addTo(terms: Float64Array, panel: Float64Array): void;
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
    addTo(terms, v) {
      for (let i = 0; i < n; i++) {
        let at = startOf(i), o = PANEL * i;
        // The diagonal counts once, and every other entry twice.
        const half = h[at++] / 2;
        let a = half * v[o], b = half * v[o + 1], c = half * v[o + 2], d = half * v[o + 3];
        let e = half * v[o + 4], f = half * v[o + 5], g = half * v[o + 6], k = half * v[o + 7];
        for (let j = o + PANEL; j < PANEL * n; j += PANEL) {
          const x = h[at++];
          a += x * v[j];
          b += x * v[j + 1];
          c += x * v[j + 2];
          d += x * v[j + 3];
          e += x * v[j + 4];
          f += x * v[j + 5];
          g += x * v[j + 6];
          k += x * v[j + 7];
        }
        for (const product of [a, b, c, d, e, f, g, k]) terms[0] += 2 * product * v[o++];
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
    addTo(terms, v) {
      for (let token = 0; token < tokens; token++) {
        const x = rowOf(inputs, token);
        let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, k = 0;
        for (let i = 0, j = 0; i < n; i++, j += PANEL) {
          const value = x[i];
          a += value * v[j];
          b += value * v[j + 1];
          c += value * v[j + 2];
          d += value * v[j + 3];
          e += value * v[j + 4];
          f += value * v[j + 5];
          g += value * v[j + 6];
          k += value * v[j + 7];
        }
        const squares = a * a + b * b + c * c + d * d + e * e + f * f + g * g + k * k;
        terms[areSampled ? token : 0] += weights[token] * squares;
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
}

/**
 * Yields better and better estimates of tr(M·H·Mᵀ): by 8 rows of random signs, by 16, 32 and so on. The last one uses the rows of M themselves,
 * and so is exact, unless M has more than `MOST_SIGNS` rows.
 */
export function* estimates(m: Rows, forms: ErrorForms): Generator<Estimate, void, undefined> {
  const n = forms.diagonal.length;
  let terms = new Float64Array(forms.terms);
  const estimate = (signs: number): Estimate => {
    const sum = terms.reduce((total, term) => total + term, 0), mean = sum / terms.length;
    const squares = terms.reduce((total, term) => total + (term - mean) ** 2, 0);
    return {
      value: sum / signs,
      deviation: sum > 0 ? Math.sqrt(squares / Math.max(1, terms.length - 1) / terms.length) / mean : 0,
    };
  };
  for (let wanted = PANEL, signs = 0; wanted < m.count && wanted <= MOST_SIGNS; wanted *= 2) {
    for (; signs < wanted; signs += PANEL) forms.addTo(terms, signedPanel(m, n));
    yield estimate(signs);
  }
  if (m.count > MOST_SIGNS) return;
  terms = new Float64Array(forms.terms);
  for (let first = 0; first < m.count; first += PANEL) forms.addTo(terms, plainPanel(m, n, first));
  yield estimate(1);
}

/** The most rows of signs. The standard deviation of an estimate is then at most √(2/1024), which is 4.4 %. */
const MOST_SIGNS = 1024;

/** Returns the rows s·M for 8 rows s of random signs, transposed. */
function signedPanel({ count, row }: Rows, n: number): Float64Array {
  const panel = new Float64Array(PANEL * n),
    random = crypto.getRandomValues(new Uint8Array(Math.min(count, 2 ** 16)));
  for (let index = 0; index < count; index++) {
    const at = index % random.length;
    if (at === 0 && index > 0) crypto.getRandomValues(random);
    const bits = random[at], values = row(index), sign = (bit: number) => (bits >> bit & 1) * 2 - 1;
    const a = sign(0),
      b = sign(1),
      c = sign(2),
      d = sign(3),
      e = sign(4),
      f = sign(5),
      g = sign(6),
      k = sign(7);
    for (let i = 0, j = 0; i < n; i++, j += PANEL) {
      const value = values[i];
      panel[j] += a * value;
      panel[j + 1] += b * value;
      panel[j + 2] += c * value;
      panel[j + 3] += d * value;
      panel[j + 4] += e * value;
      panel[j + 5] += f * value;
      panel[j + 6] += g * value;
      panel[j + 7] += k * value;
    }
  }
  return panel;
}

/** Returns the rows of M from `first`, transposed. */
function plainPanel({ count, row }: Rows, n: number, first: number): Float64Array {
  const panel = new Float64Array(PANEL * n);
  for (let index = first; index < Math.min(count, first + PANEL); index++) {
    const values = row(index);
    for (let i = 0; i < n; i++) panel[PANEL * i + index - first] = values[i];
  }
  return panel;
}

/** Returns a row of a matrix of floats. */
export function rowOf({ dtype, shape: [, cols], data }: HostTensor, row: number): Float32Array {
  const bytes = cols * BYTES_PER_ELEMENT[dtype];
  return bytesToFloats(data.subarray(row * bytes, (row + 1) * bytes), dtype as FloatDtype);
}
