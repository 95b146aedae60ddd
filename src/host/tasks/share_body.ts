/** Selects the windows of one share in a body of `PUT /v1/states/{name}`. */

import {
  HIDDEN_STATES,
  VALIDATION_HIDDEN_STATES,
  VALIDATION_WINDOWS,
  WINDOWS,
} from "../../protocol/block_names.ts";
import { invalidParameter } from "../../protocol/refusal.ts";
import type { Share } from "../../protocol/resources/tasks.ts";
import { shareBoundaries } from "../../prune/window_parts.ts";
import { openSafetensors, type SafetensorsStream } from "../../tensor/safetensors/decode.ts";
import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import { MAX_BLOCK_HEADER_BYTES } from "../blocks/check_body.ts";
import type { BlobBody } from "./blob_store.ts";

/** The rows of a tensor, from `start` to before `end`. */
interface Rows {
  readonly start: number;
  readonly end: number;
}

/**
 * Returns the file with the windows of the share, and the number of shares that have windows.
 * @throws {SafetensorsError} if `body` is malformed
 * @throws {Refusal} `invalid_parameter` if the share has no windows
 */
export async function shareBody(
  body: BlobBody,
  { index, count }: Share,
): Promise<{ readonly body: BlobBody; readonly shares: number }> {
  const file = await openSafetensors(body.bytes, { ...body, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  const { tensors, metadata } = file.header;
  const rowsOf = (...names: string[]) => tensors.find(({ name }) => names.includes(name))?.shape[0] ?? 0;
  const heldOut = rowsOf(VALIDATION_WINDOWS, VALIDATION_HIDDEN_STATES);
  const boundaries = shareBoundaries(rowsOf(WINDOWS, HIDDEN_STATES), heldOut, count);
  const shares = boundaries.length - 1;
  if (index >= shares) {
    await file.close();
    throw invalidParameter(
      "share",
      `must be below ${shares}, the number of shares with windows, got ${index}`,
    );
  }
  const fitted = { start: boundaries[index], end: boundaries[index + 1] };
  const rows = new Map<string, Rows>([[WINDOWS, fitted], [HIDDEN_STATES, fitted]]);
  const others = index < shares - 1 ? [VALIDATION_WINDOWS, VALIDATION_HIDDEN_STATES] : [];
  for (const name of others) rows.set(name, { start: 0, end: 0 });
  const selected = tensors.filter(({ name }) => !others.includes(name)).map(({ name, dtype, shape }) => {
    const own = rows.get(name);
    return { name, dtype, shape: own ? [own.end - own.start, ...shape.slice(1)] : shape };
  });
  const header = encodeHeader(selected, metadata);
  return {
    shares,
    body: {
      totalBytes: header.bytes.byteLength + header.dataBytes,
      bytes: selectedBytes(header.bytes, file, rows),
    },
  };
}

async function* selectedBytes(
  header: Uint8Array,
  file: SafetensorsStream,
  rows: ReadonlyMap<string, Rows>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield header;
    for await (const { tensor: { name, shape, begin, end }, offset, bytes } of file.chunks()) {
      const wanted = rows.get(name), rowBytes = (end - begin) / shape[0];
      const first = wanted ? wanted.start * rowBytes - offset : 0;
      const last = wanted ? wanted.end * rowBytes - offset : bytes.byteLength;
      const part = bytes.subarray(Math.max(0, first), Math.max(0, last));
      if (part.byteLength > 0) yield part;
    }
  } finally {
    await file.close();
  }
}
