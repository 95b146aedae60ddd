/** Joins safetensors files whose data is read when the joined file is sent. */

import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { SafetensorsStream } from "../../tensor/safetensors/decode.ts";
import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import type { BlobBody } from "./blob_store.ts";

/** Returns a file with the tensors of `files`, followed by `tensors`. It has no metadata. Its bytes close the files at the end. */
export function joinedFile(
  files: readonly SafetensorsStream[],
  tensors: ReadonlyMap<string, HostTensor> = new Map(),
): BlobBody {
  const infos = Array.from(tensors, ([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const { bytes, dataBytes } = encodeHeader([...files.flatMap(({ header }) => header.tensors), ...infos]);
  return { totalBytes: bytes.byteLength + dataBytes, bytes: joinedBytes(bytes, files, tensors) };
}

async function* joinedBytes(
  header: Uint8Array<ArrayBuffer>,
  files: readonly SafetensorsStream[],
  tensors: ReadonlyMap<string, HostTensor>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield header;
    for (const file of files) {
      for await (const { bytes } of file.chunks()) yield bytes;
    }
    for (const { data } of tensors.values()) yield data;
  } finally {
    for (const file of files) await file.close();
  }
}
