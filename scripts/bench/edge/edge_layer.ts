/**
 * Creates the layer of the edge bench, which measures how much time Pare's Cloudflare Worker (the edge) adds
 * to a request. The layer has weights in half precision, as checkpoints store them, and one triangle of the
 * Hessian.
 */

import { encode } from "../../../src/safetensors/encode.ts";
import { floatsToBytes } from "../../../src/tensor/convert.ts";
import { normals } from "../../../tests/support/random.ts";
import { hessianRow } from "../measure/layer_file.ts";

/**
 * Creates the body of a request: a safetensors file with `weight` (rows, cols) F16 and `hessian_upper` F32, the packed upper
 * triangle with cols·(cols+1)/2 elements.
 */
export function edgeLayer(rows: number, cols: number): Uint8Array<ArrayBuffer> {
  const upper = new Float32Array(cols * (cols + 1) / 2);
  for (let row = 0, at = 0; row < cols; at += cols - row, row++) {
    upper.set(hessianRow(row, cols).subarray(row), at);
  }
  return encode({
    hessian_upper: { dtype: "F32", shape: [upper.length], data: new Uint8Array(upper.buffer) },
    weight: { dtype: "F16", shape: [rows, cols], data: floatsToBytes(normals(rows * cols, rows), "F16") },
  });
}

/**
 * Changes the low byte of the last weight in `body`, so that each round sends a different layer. An unchanged body would not
 * be uploaded again, because the edge already stores it.
 */
export function changeLastWeight(body: Uint8Array<ArrayBuffer>, round: number): void {
  body[body.length - 2] = round;
}
