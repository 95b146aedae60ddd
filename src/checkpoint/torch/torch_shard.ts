/**
 * A weight file of torch.save as a shard: the header that its safetensors copy has. Tensors that share a storage, as a
 * tied head does, are separate in the copy.
 */

import { type EncodedHeader, encodeHeader } from "../../safetensors/encode.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import { ModelError } from "../../files/model_error.ts";
import type { ReadableFile } from "../../files/file_system.ts";
import type { Shard } from "../shard.ts";
import { readTorchFile } from "./torch_file.ts";
import type { TorchTensor } from "./values.ts";

/** What transformers asks of a file's metadata. */
const METADATA = { format: "pt" };

/** The name in a copy of the weight file `name`: `pytorch_model-1-of-2.bin` becomes `model-1-of-2.safetensors`. */
export function copyName(name: string): string {
  return name.replace(/^pytorch_model/, "model").replace(/\.bin$/, "") + ".safetensors";
}

/** The shard in `file`, called `name` in its folder. @throws {ModelError} as {@link readTorchFile} */
export async function torchShard(name: string, file: ReadableFile): Promise<Shard> {
  const tensors = await readTorchFile(file);
  const { bytes, dataBytes, tensors: infos } = headerOf(tensors);
  const offsets = new Map([...tensors].map(([tensor, { offset }]) => [tensor, offset]));
  return {
    name: copyName(name),
    file,
    header: { tensors: infos, metadata: METADATA, headerBytes: bytes.byteLength, dataBytes },
    headerBlock: () => Promise.resolve(bytes),
    position: ({ name }) => offsets.get(name) ?? NaN,
  };
}

/** Wide elements first, so that every tensor is aligned to its own. */
function headerOf(tensors: ReadonlyMap<string, TorchTensor>): EncodedHeader {
  const specs = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }))
    .sort((a, b) => BYTES_PER_ELEMENT[b.dtype] - BYTES_PER_ELEMENT[a.dtype]);
  try {
    return encodeHeader(specs, METADATA);
  } catch (cause) {
    if (!(cause instanceof TypeError || cause instanceof RangeError)) throw cause;
    throw new ModelError(`has tensors that safetensors cannot hold: ${cause.message}`, { cause });
  }
}
