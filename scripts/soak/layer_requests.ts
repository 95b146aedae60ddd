/**
 * The requests of the soak: layers of 64 × 64 to 768 × 768 for every method. The expected answer of each
 * request is computed before the soak, by a host that serves nobody else.
 */

import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { type FloatDtype, floatsToBytes } from "../../src/tensor/dtype.ts";
import { normals } from "../fixtures/random.ts";
import { hessianRow } from "../bench/measure/layer_file.ts";
import { exchange } from "./exchange.ts";
import { comparableAnswer } from "./comparable_answer.ts";

export interface LayerRequest {
  /** Names the request in messages, such as `sparsegpt 256 × 256`. */
  readonly name: string;
  readonly path: string;
  readonly body: Uint8Array<ArrayBuffer>;
  /** The answer without the parts that may differ between two answers, such as times. */
  readonly expected: Uint8Array;
  /** The length of the whole expected answer in bytes. It may differ by a few bytes, because times have different lengths. */
  readonly answerBytes: number;
}

interface Layer {
  readonly rows: number;
  readonly cols: number;
  readonly dtype?: FloatDtype;
  readonly query: LayerQuery;
}

const LAYERS: readonly Layer[] = [
  { rows: 64, cols: 64, query: {} },
  { rows: 96, cols: 64, query: { method: "obc" } },
  { rows: 64, cols: 128, query: { method: "alps", effort: "fast" } },
  { rows: 128, cols: 128, dtype: "F16", query: { method: "adaprune" } },
  { rows: 256, cols: 256, dtype: "BF16", query: { method: "wanda", pattern: "2:4" } },
  { rows: 256, cols: 256, query: { bits: 4, group_size: 64 } },
  { rows: 384, cols: 256, query: { pattern: "2:4" } },
  { rows: 512, cols: 512, query: { method: "magnitude" } },
  { rows: 512, cols: 384, query: { sparsity: 0.7 } },
  { rows: 768, cols: 768, query: { method: "wanda" } },
  { rows: 768, cols: 768, dtype: "F16", query: {} },
];

/** Makes all requests, and asks `host` for their answers. @throws {Error} if the host refuses one of them */
export async function makeRequests(host: { readonly url: string }): Promise<LayerRequest[]> {
  const requests: LayerRequest[] = [];
  for (const [index, { rows, cols, dtype = "F32", query }] of LAYERS.entries()) {
    const parameters = new URLSearchParams(
      Object.entries(query).map(([name, value]) => [name, String(value)]),
    );
    const request = {
      name: `${query.method ?? "sparsegpt"} ${rows} × ${cols}`,
      path: `/v1/layers?${parameters}`,
      body: layerBody(rows, cols, dtype, index + 1),
    };
    const answer = await exchange(host.url, request);
    if (answer.status !== 200) {
      throw new Error(`${request.name}: ${answer.status} ${new TextDecoder().decode(answer.body)}`);
    }
    requests.push({
      ...request,
      expected: comparableAnswer(answer.body),
      answerBytes: answer.body.byteLength,
    });
  }
  return requests;
}

/** A safetensors file with a random weight (rows, cols) and a correlated Hessian (cols, cols) F32. */
function layerBody(rows: number, cols: number, dtype: FloatDtype, seed: number): Uint8Array<ArrayBuffer> {
  const hessian = new Float32Array(cols * cols);
  for (let row = 0; row < cols; row++) hessian.set(hessianRow(row, cols), row * cols);
  return encode({
    weight: { dtype, shape: [rows, cols], data: floatsToBytes(normals(rows * cols, seed), dtype) },
    hessian: { dtype: "F32", shape: [cols, cols], data: floatsToBytes(hessian, "F32") },
  });
}
