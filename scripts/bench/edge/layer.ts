/** The layer that is sent each way: half-precision weights, as checkpoints have them, and one triangle of the statistics. */

import { encode } from "../../../src/safetensors/encode.ts";
import { fromFloat32 } from "../../../src/tensor/convert.ts";
import { normals } from "../../../tests/support/random.ts";
import { hessianRow } from "../layer_file.ts";

/** A request's body with `weight` (rows, cols) F16 and `hessian_upper` F32. */
export function edgeLayer(rows: number, cols: number): Uint8Array<ArrayBuffer> {
  const upper = new Float32Array(cols * (cols + 1) / 2);
  for (let row = 0, at = 0; row < cols; at += cols - row, row++) {
    upper.set(hessianRow(row, cols).subarray(row), at);
  }
  return encode({
    hessian_upper: { dtype: "F32", shape: [upper.length], data: new Uint8Array(upper.buffer) },
    weight: { dtype: "F16", shape: [rows, cols], data: fromFloat32(normals(rows * cols, rows), "F16") },
  });
}

/** Makes `body` that of another layer, by the low bits of its last weight: an edge that has a blob is not sent it again. */
export function vary(body: Uint8Array<ArrayBuffer>, round: number): void {
  body[body.length - 2] = round;
}
