/**
 * The answer of `POST /v1/blocks/KIND`, which the host encodes and the client decodes. The weight of a layer has the name that
 * it has in the checkpoint. The other tensors of the layer have this name with `.mask` and `.probe`, and `.codes`, `.scales`
 * and `.zeros` if it is rounded. The tensors of a reconstruction have the prefix `trained.`.
 */

import * as z from "zod/mini";
import { parseJson } from "../../base/json.ts";
import { list } from "../../base/list.ts";
import { MASK, PROBE, TRAINED } from "./block_names.ts";
import { ANSWER_BOUNDS } from "../limits.ts";
import { receivedReport } from "../received.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import { decode } from "../../tensor/safetensors/decode.ts";
import { encodeParts } from "../../tensor/safetensors/encode.ts";
import { MAX_CHECKPOINT_HEADER_BYTES } from "../../tensor/safetensors/header.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { SolvedBlock } from "./solved_block.ts";

/** A number that may be infinite or NaN, which JSON writes as null. */
const numberOrNaN = z.pipe(z.nullable(z.number()), z.transform((value) => value ?? NaN));

/** The metadata of the file, which is JSON under the name `block`. */
const metadataSchema = z.object({
  layers: list(z.object({
    name: z.string(),
    tokens: z.optional(z.int()),
    report: receivedReport,
  })),
  sums: z.optional(list(z.object({ name: z.string(), tokens: z.int(), validation_tokens: z.int() }))),
  error: z.optional(numberOrNaN),
  decision: z.optional(z.object({
    areKept: z.boolean(),
    errors: z.object({ withTargets: numberOrNaN, without: numberOrNaN }),
  })),
  reconstructed: z.optional(z.object({
    epochs: z.int(),
    before: numberOrNaN,
    after: numberOrNaN,
    keptEpoch: z.int(),
    seconds: z.number(),
  })),
});

/** Returns the parts of the file, in order. */
export function encodeBlock(
  { layers, sums, error, decision, reconstructed }: SolvedBlock,
): Uint8Array<ArrayBuffer>[] {
  const tensors = layers.flatMap(({ name, weight, mask, probe, quantized = {} }) => [
    [name, weight] as const,
    ...probe ? [[name + PROBE, probe] as const] : [],
    [name + MASK, mask] as const,
    ...Object.entries(quantized).map(([part, tensor]) => [`${name}.${part}`, tensor as HostTensor] as const),
  ]);
  const { tensors: trained, ...reconstruction } = reconstructed ?? { tensors: new Map<string, HostTensor>() };
  for (const [name, tensor] of trained) tensors.push([TRAINED + name, tensor]);
  // Elements of more bytes come first, so that they are aligned.
  tensors.sort(([, a], [, b]) => BYTES_PER_ELEMENT[b.dtype] - BYTES_PER_ELEMENT[a.dtype]);
  const block = JSON.stringify({
    layers: layers.map(({ name, tokens, report }) => ({ name, tokens, report })),
    sums,
    error,
    decision,
    reconstructed: reconstructed && reconstruction,
  });
  return encodeParts(tensors, { block });
}

/** @throws {RangeError} if `body` is not the file that `encodeBlock` writes */
export function decodeBlock(body: Uint8Array<ArrayBuffer>): SolvedBlock {
  try {
    const { header, tensors } = decode(body, { maxHeaderBytes: MAX_CHECKPOINT_HEADER_BYTES });
    const { layers, reconstructed, ...block } = metadataSchema.parse(
      parseJson(header.metadata.block ?? "", ANSWER_BOUNDS),
    );
    const tensor = (name: string) => {
      const found = tensors.get(name);
      if (!found) throw new RangeError(`the tensor ${name} is missing`);
      return found;
    };
    const quantized = (name: string) => ({
      codes: tensor(`${name}.codes`),
      scales: tensor(`${name}.scales`),
      zeros: tensor(`${name}.zeros`),
    });
    const trained = [...tensors].filter(([name]) => name.startsWith(TRAINED));
    return {
      ...block,
      layers: layers.map((layer) => ({
        ...layer,
        weight: tensor(layer.name),
        mask: tensor(layer.name + MASK),
        ...tensors.has(layer.name + PROBE) && { probe: tensor(layer.name + PROBE) },
        ...tensors.has(`${layer.name}.codes`) && { quantized: quantized(layer.name) },
      })),
      ...reconstructed && {
        reconstructed: {
          ...reconstructed,
          tensors: new Map(trained.map(([name, tensor]) => [name.slice(TRAINED.length), tensor])),
        },
      },
    };
  } catch (cause) {
    const fault = cause instanceof RangeError ? cause.message : "it is not a pruned block";
    throw new RangeError(`answer of /v1/blocks: ${fault}`, { cause });
  }
}
