/**
 * Sends a layer of any size and receives its answer as streams. Tests that measure the memory of other
 * processes therefore need little memory themselves.
 */

import { createHash, type Hash } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Report } from "../../src/protocol/messages.ts";
import { reportSchema } from "../../src/protocol/resources/layers.ts";
import { encodeHeader } from "../../src/tensor/safetensors/encode.ts";
import { safetensorsHeaders } from "../routes/host.ts";
import { normals } from "../../scripts/fixtures/random.ts";

/** The answer for a layer, without its tensors. */
export interface StreamedAnswer {
  readonly report: Report;
  /** The size of the whole answer in bytes. */
  readonly bytes: number;
  /** The sha-256 of the tensors' bytes. The header before them is not hashed, because it contains times. */
  readonly digest: string;
}

/** 1 MiB of random weights, which is repeated to fill a layer. */
const BLOCK = new Uint8Array(normals(1 << 18, 1).buffer);

/** Sends (rows, cols) F32 weights to `POST /v1/layers`. Their size must be a multiple of 1 MiB. */
export async function streamLayer(
  origin: string,
  rows: number,
  cols: number,
  query: string,
): Promise<StreamedAnswer> {
  const header = encodeHeader([{ name: "weight", dtype: "F32", shape: [rows, cols] }]);
  const sent = request(new URL(`/v1/layers?${query}`, origin), {
    method: "POST",
    headers: Object.fromEntries(safetensorsHeaders(header.bytes.length + header.dataBytes)),
  });
  const answered = once(sent, "response") as Promise<[IncomingMessage]>;
  function* body() {
    yield header.bytes;
    for (let at = 0; at < header.dataBytes; at += BLOCK.length) yield BLOCK;
  }
  const [[response]] = await Promise.all([answered, pipeline(Readable.from(body()), sent)]);
  const hash = createHash("sha256");
  let bytes = 0, start: Uint8Array<ArrayBuffer> | undefined = new Uint8Array(0);
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (start === undefined) hash.update(chunk);
    else start = hashTensors(hash, new Uint8Array([...start, ...chunk]));
  }
  if (response.statusCode !== 200) {
    throw new Error(`${response.statusCode}: ${new TextDecoder().decode(start)}`);
  }
  const report = reportSchema.parse(JSON.parse(String(response.headers["pare-report"])));
  return { report, bytes, digest: hash.digest("hex") };
}

/** Hashes the bytes after the header in the `start` of a file. Returns `start` if it does not contain the whole header yet. */
function hashTensors(hash: Hash, start: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  if (start.length < 8) return start;
  const headerEnd = 8 + Number(new DataView(start.buffer).getBigUint64(0, true));
  if (start.length < headerEnd) return start;
  hash.update(start.subarray(headerEnd));
}
