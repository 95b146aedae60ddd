/**
 * Joins two safetensors files into one while they are streamed. A task, which is a layer that an edge gives to the host, uses this if its
 * statistics are too large for the host's store. The weight and the statistics are then sent in one body.
 */

import { Refusal } from "../../protocol/refusal.ts";
import { openSafetensors, type SafetensorsStream } from "../../tensor/safetensors/decode.ts";
import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import { shortened } from "../../base/quotes.ts";
import type { BlobBody } from "./blob_store.ts";

/**
 * Returns a file with the tensors of `first`, followed by the tensors of `second`.
 * @throws {SafetensorsError} if a header is malformed
 * @throws {Refusal} `shape_mismatch` if both files have a tensor with the same name
 */
export async function joinFiles(first: BlobBody, second: BlobBody): Promise<BlobBody> {
  const a = await openSafetensors(first.bytes, first);
  const b = await openSafetensors(second.bytes, second);
  const names = new Set(a.header.tensors.map(({ name }) => name));
  const duplicate = b.header.tensors.find(({ name }) => names.has(name));
  if (duplicate) {
    await Promise.all([a.close(), b.close()]);
    throw new Refusal("shape_mismatch", `tensor ${shortened(duplicate.name)} is in both files`, {
      members: { tensor: duplicate.name },
    });
  }
  const header = encodeHeader([...a.header.tensors, ...b.header.tensors]);
  return {
    totalBytes: header.bytes.byteLength + header.dataBytes,
    bytes: joinedBytes(header.bytes, [a, b]),
  };
}

/** Yields the header, and then the data of all files. Closes the files at the end. */
async function* joinedBytes(
  header: Uint8Array<ArrayBuffer>,
  files: readonly SafetensorsStream[],
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield header;
    for (const file of files) {
      for await (const { bytes } of file.chunks()) yield bytes;
    }
  } finally {
    for (const file of files) await file.close();
  }
}
