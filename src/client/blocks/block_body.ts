/** The body of `PUT /v1/states/NAME` and `POST /v1/blocks`. */

import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { BodyPart } from "../request_body.ts";

/** A tensor of a body. The data is in memory, or is read when it is sent. */
export type SentTensor = Omit<HostTensor, "data"> & { readonly data: BodyPart };

/** The tensors of a block, by their names in the checkpoint. */
export type BlockTensors = ReadonlyMap<string, SentTensor>;

/** Returns the parts of a safetensors file, in order and without a copy. */
export function bodyOf(tensors: BlockTensors, metadata: Readonly<Record<string, string>> = {}): BodyPart[] {
  const infos = Array.from(tensors, ([name, { dtype, shape }]) => ({ name, dtype, shape }));
  return [encodeHeader(infos, metadata).bytes, ...Array.from(tensors.values(), ({ data }) => data)];
}
