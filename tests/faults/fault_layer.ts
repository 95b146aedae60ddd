/** The layer that hosts solve while something fails, and the check of their answers. */

import { encode } from "../../src/tensor/safetensors/encode.ts";
import { floatsToBytes } from "../../src/tensor/dtype.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { hessianRow } from "../../scripts/bench/measure/layer_file.ts";
import { comparableAnswer, equalBytes } from "../../scripts/soak/comparable_answer.ts";
import { require } from "./fault_kind.ts";

/** Returns the body of a request to prune a random layer (rows, cols) with its Hessian. */
export function layerBody(rows: number, cols: number, seed = 1): Uint8Array<ArrayBuffer> {
  const hessian = new Float32Array(cols * cols);
  for (let row = 0; row < cols; row++) hessian.set(hessianRow(row, cols), row * cols);
  return encode({
    weight: { dtype: "F32", shape: [rows, cols], data: floatsToBytes(normals(rows * cols, seed), "F32") },
    hessian: { dtype: "F32", shape: [cols, cols], data: floatsToBytes(hessian, "F32") },
  });
}

/** The request to `POST /v1/layers` with this body. */
export function layerRequest(body: Uint8Array<ArrayBuffer>): RequestInit {
  const headers = {
    "Content-Type": "application/vnd.safetensors",
    "Content-Length": String(body.byteLength),
    Host: "127.0.0.1",
  };
  return { method: "POST", headers, body };
}

/** Checks that `answer` is the body `expected`, apart from times. @throws {Error} if it is not */
export function requireSameAnswer(answer: Uint8Array<ArrayBuffer>, expected: Uint8Array<ArrayBuffer>): void {
  require(
    equalBytes(comparableAnswer(answer), comparableAnswer(expected)),
    "the answer differs from the undisturbed one",
  );
}
