/** A layer of any size sent and received as streams, so that a test of other processes' memory needs little of its own. */

import { createHash, type Hash } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Report, reportSchema } from "../../src/protocol/report.ts";
import { encodeHeader } from "../../src/safetensors/encode.ts";
import { safetensorsHeaders } from "../routes/host.ts";
import { normals } from "../support/random.ts";

/** What came back. */
export interface StreamedAnswer {
  readonly report: Report;
  /** Of the whole answer. */
  readonly bytes: number;
  /** sha-256 of the tensors' bytes: the header before them tells times. */
  readonly digest: string;
}

/** Weights that are repeated to fill a layer. */
const BLOCK = new Uint8Array(normals(1 << 18, 1).buffer);

/** Sends a layer of (rows, cols) F32 weights, a multiple of 1 MiB, to `POST /v1/layers`. */
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

/** Hashes what is past the header of a file's `start`; gives it back while the header is not whole. */
function hashTensors(hash: Hash, start: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  if (start.length < 8) return start;
  const headerEnd = 8 + Number(new DataView(start.buffer).getBigUint64(0, true));
  if (start.length < headerEnd) return start;
  hash.update(start.subarray(headerEnd));
}
