/**
 * The sample layer of the playground and of the curl line: 128 outputs, 256 inputs, and the statistics of correlated
 * inputs. Only sums, products and comparisons make its numbers, so every machine makes the same bytes.
 */

import { encode } from "../tensor/safetensors/encode.ts";

const ROWS = 128, COLS = 256, TOKENS = 512;

/** The inputs of a token are mixtures of this many factors, as the activations of a trained network are. */
const FACTORS = 24;

/** The mask of the first 64 rows and columns after SparseGPT at 50 %, one bit per weight. A test solves the layer. */
const CORNER_MASK =
  "t62hOiOzPXy37++lEPdzPEQuKtSvgHqM1GuZcbt27cX8me+7tSd27jt07xUwD6NeZ7pZAPbuPhdqyWlkKBZMhOvEo//5Sf1Es27p" +
  "hCAI7EIwEXGNcJHAfLDqKibwreDsRIS1ujCDOykqVbEgQJFtYHgGHU85yxEBOezgaXaR4myBACxACXMiTUZXPihsaz66hyO94Tc5" +
  "S3bgCrKVvgQibCVUMWRoRb1AJn/9bXBvPE7n/rI+4kHlJTUVskcp5jBgfk8xo6gk3SJodu3voU+w+H2H8ts0EWvQcZG0CGRhcQR5" +
  "S/t/cVC9d0exPScgB3zuc3rgmTA/DATrXCt0sXVsyhcHLoYiRcFgIO+3V7Q37Wti1HNu8DR8FSAF5pokBGkEZBw50HtgvIxlI6HI" +
  "IARoZeVRHGEISkpEb9VtOuqvpkgh6apIOYNkpL+pyl6ZgOVmVCyhICUDZBbGO7XW6sx8rGUSYOQghmhDxl6ttNAzMbTr36luenPE" +
  "e1wAgUuqQ2GYPwi3ziBDfPAuSDNqMeNPpEtH87fuYafUsJGDZsY3cGk6hMLirSNt/D9rhWawVUtmRCoiShAv6eBnNKS+9O1kvyqF" +
  "vH/7v+x1K0Y2w3PLyGJ873Lb8+Nb3SijuO2jN2l+Oqkz0DGJYIU2DgJoQ4GfbDjPv6aiBzSmf+kyOG4Cbvk=";

/** The number of rows and of columns of `CORNER_MASK`. */
const CORNER = 64;

let bytes: Uint8Array<ArrayBuffer> | undefined;

/** Returns a safetensors file with `weight` F32 [128, 256] and `hessian_upper` F32 [32896]. */
export function sampleLayer(): Uint8Array<ArrayBuffer> {
  return bytes ??= encode({
    weight: { dtype: "F32", shape: [ROWS, COLS], data: bytesOf(weights()) },
    hessian_upper: { dtype: "F32", shape: [COLS * (COLS + 1) / 2], data: bytesOf(hessianUpper()) },
  });
}

/** Returns the first rows and columns of the mask of the pruned sample, one text of `1` (kept) and `0` per row. */
export function sampleMask(): string[] {
  const bits = [...Uint8Array.fromBase64(CORNER_MASK)].flatMap((byte) =>
    [...byte.toString(2).padStart(8, "0")].reverse()
  );
  return Array.from({ length: CORNER }, (_, row) => bits.slice(CORNER * row, CORNER * (row + 1)).join(""));
}

/** Weights of a bell shape. Some rows are larger than others. */
function weights(): Float32Array<ArrayBuffer> {
  const next = bellNumbers(1),
    scales = Float32Array.from({ length: ROWS }, () => 0.02 + 0.01 * Math.abs(next()));
  return Float32Array.from({ length: ROWS * COLS }, (_, i) => scales[Math.floor(i / COLS)] * next());
}

/** The upper triangle of Σ x·xᵀ, row by row, over inputs x that share a few factors. Every sixteenth input is large. */
function hessianUpper(): Float32Array<ArrayBuffer> {
  const next = bellNumbers(2), mixing = Float64Array.from({ length: COLS * FACTORS }, next);
  const sizes = Float64Array.from(
    { length: COLS },
    (_, i) => i % 16 === 5 ? 3 : 0.5 + 0.3 * Math.abs(next()),
  );
  const sums = new Float64Array(COLS * COLS), x = new Float64Array(COLS), factors = new Float64Array(FACTORS);
  for (let token = 0; token < TOKENS; token++) {
    for (let k = 0; k < FACTORS; k++) factors[k] = next();
    for (let i = 0; i < COLS; i++) {
      let value = 2 * next();
      for (let k = 0; k < FACTORS; k++) value += mixing[i * FACTORS + k] * factors[k] / 3;
      x[i] = sizes[i] * value;
    }
    for (let i = 0; i < COLS; i++) for (let j = i; j < COLS; j++) sums[i * COLS + j] += x[i] * x[j];
  }
  const upper = new Float32Array(COLS * (COLS + 1) / 2);
  for (let i = 0, n = 0; i < COLS; i++) for (let j = i; j < COLS; j++) upper[n++] = sums[i * COLS + j];
  return upper;
}

/**
 * Returns a generator of pseudorandom numbers with mean 0 and variance 1: sums of twelve uniform numbers, less 6. The
 * uniform numbers come from mulberry32 by Tommy Ettinger (public domain).
 */
function bellNumbers(seed: number): () => number {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += uniform();
    return sum;
  };
}

function bytesOf(values: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(values.buffer);
}
