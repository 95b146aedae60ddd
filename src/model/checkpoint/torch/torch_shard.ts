/**
 * Opens a weight file of `torch.save` as a `Shard`. Tensors that share a storage, such as an output head and the embedding, are stored
 * twice in its copy.
 */

import { type EncodedHeader, encodeHeader } from "../../../tensor/safetensors/encode.ts";
import { BYTES_PER_ELEMENT } from "../../../tensor/dtype.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import type { ReadableFile } from "../../../base/files/file_system.ts";
import type { Shard } from "../weight_files.ts";
import { readTorchFile } from "./read_torch_file.ts";
import type { TorchTensor } from "./pickle_value.ts";

/** The metadata that the transformers library requires of a safetensors file. */
const METADATA = { format: "pt" };

/** Names the safetensors copy of a weight file: `pytorch_model-1-of-2.bin` becomes `model-1-of-2.safetensors`. */
export function safetensorsName(name: string): string {
  return name.replace(/^pytorch_model/, "model").replace(/\.bin$/, "") + ".safetensors";
}

/**
 * Reads where the tensors of `file` are stored. No tensor data is read.
 * @throws {ModelError} if the file is not supported (see {@link readTorchFile}), or if safetensors cannot store its tensors
 */
export async function readTorchShard(name: string, file: ReadableFile): Promise<Shard> {
  const tensors = await readTorchFile(file);
  const { bytes, dataBytes, tensors: infos } = encodeCopyHeader(tensors);
  const offsets = new Map([...tensors].map(([tensor, { offset }]) => [tensor, offset]));
  return {
    name: safetensorsName(name),
    file,
    mode: file.mode,
    header: { tensors: infos, metadata: METADATA, headerBytes: bytes.byteLength, dataBytes },
    readHeaderBytes: () => Promise.resolve(bytes),
    position: ({ name }) => offsets.get(name) ?? NaN,
  };
}

/** Tensors with wide elements come first, so that every tensor starts at a multiple of its element size. */
function encodeCopyHeader(tensors: ReadonlyMap<string, TorchTensor>): EncodedHeader {
  const specs = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }))
    .sort((a, b) => BYTES_PER_ELEMENT[b.dtype] - BYTES_PER_ELEMENT[a.dtype]);
  try {
    return encodeHeader(specs, METADATA);
  } catch (cause) {
    if (!(cause instanceof TypeError || cause instanceof RangeError)) throw cause;
    throw new ModelError(`has tensors that safetensors cannot hold: ${cause.message}`, { cause });
  }
}
