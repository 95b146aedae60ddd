/** Joins two streamed safetensors files into one. It is used for statistics that are too large for the host's store. */

import { Refusal } from "../../protocol/refusal.ts";
import { openSafetensors, type SafetensorsStream } from "../../safetensors/decode.ts";
import { encodeHeader } from "../../safetensors/encode.ts";
import type { BlobBody } from "./blob_store.ts";

/** Returns a file with the tensors of `first`, then those of `second`. @throws {SafetensorsError} if a header is malformed @throws {Refusal} if a tensor is in both files */
export async function joinFiles(first: BlobBody, second: BlobBody): Promise<BlobBody> {
  const a = await openSafetensors(first.bytes, first);
  const b = await openSafetensors(second.bytes, second);
  const names = new Set(a.header.tensors.map(({ name }) => name));
  const twice = b.header.tensors.find(({ name }) => names.has(name));
  if (twice) {
    await Promise.all([a.close(), b.close()]);
    throw new Refusal("shape_mismatch", `tensor ${twice.name} is in both files`, {
      members: { tensor: twice.name },
    });
  }
  const header = encodeHeader([...a.header.tensors, ...b.header.tensors]);
  return {
    totalBytes: header.bytes.byteLength + header.dataBytes,
    bytes: joined(header.bytes, [a, b]),
  };
}

async function* joined(
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
