/** Compares a host's answers to the same request. */

import { Buffer } from "node:buffer";
import { decode } from "../../src/tensor/safetensors/decode.ts";

/**
 * Returns the part of an answer that must be the same every time: the report without its times, and the bytes of all tensors
 * with their names, dtypes and shapes.
 * @throws {SafetensorsError} if `body` is not a complete safetensors file
 */
export function comparableAnswer(body: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const { header, tensors } = decode(body);
  const { seconds: _, factor_reused: _reused, ...report } = JSON.parse(header.metadata.report);
  const described = [...tensors].map(([name, { dtype, shape }]) => [name, dtype, shape]);
  const text = new TextEncoder().encode(JSON.stringify([report, described]));
  const parts = [text, ...[...tensors.values()].map(({ data }) => data)];
  const joined = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.byteLength;
  }
  return joined;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && Buffer.compare(a, b) === 0;
}
