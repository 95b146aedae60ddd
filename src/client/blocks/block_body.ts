/** The tensors in a body of `PUT /v1/states/NAME` or `POST /v1/blocks/KIND`. */

import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { BodyPart } from "../request_body.ts";

/** A tensor of a body. The data is in memory, or is read when it is sent. */
export type SentTensor = Omit<HostTensor, "data"> & { readonly data: BodyPart };

/** The tensors of a block, by their names in the checkpoint. */
export type BlockTensors = ReadonlyMap<string, SentTensor>;
