/**
 * The answer of `POST /v1/blocks`, which the host encodes and the client decodes. The weight of a layer has the name that
 * it has in the checkpoint. The other tensors of a rounded layer have this name with `.codes`, `.scales` and `.zeros`, and
 * the tensors of a reconstruction have the prefix `trained.`.
 */

import { z } from "zod";
import { MalformedAnswerError } from "../../client/errors.ts";
import { receivedReport } from "../../client/answers/received.ts";
import { bytesToFloats, isFloatDtype } from "../../tensor/dtype.ts";
import { decode } from "../../tensor/safetensors/decode.ts";
import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import { MAX_CHECKPOINT_HEADER_BYTES } from "../../tensor/safetensors/header.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { finiteOrNull } from "../run/journal.ts";
import type { SolvedBlock } from "./prune_block.ts";

const TRAINED = "trained.";

/** A number that may be infinite or NaN, which JSON writes as null. */
const error = z.number().nullable().transform((value) => value ?? NaN);

/** The metadata of the file, which is JSON under the name `block`. */
const metadataSchema = z.object({
  layers: z.array(z.object({
    name: z.string(),
    tokens: z.int().optional(),
    // The report is parsed by the schema of the SDK, which accepts the members of later versions.
    report: z.unknown().transform((report) => receivedReport.parse(report)),
  })),
  error: error.optional(),
  decision: z.object({ areKept: z.boolean(), errors: z.object({ withTargets: error, without: error }) })
    .optional(),
  reconstructed: z.object({
    epochs: z.int(),
    before: error,
    after: error,
    keptEpoch: z.int(),
    seconds: z.number(),
  }).optional(),
});

/** Returns the parts of the file, in order. */
export function encodeBlock(
  { layers, error, decision, reconstructed }: SolvedBlock,
): Uint8Array<ArrayBuffer>[] {
  const tensors = layers.flatMap(({ name, weight, quantized = {} }) => [
    [name, weight] as const,
    ...Object.entries(quantized).map(([part, tensor]) => [`${name}.${part}`, tensor as HostTensor] as const),
  ]);
  const { tensors: trained, ...reconstruction } = reconstructed ?? { tensors: new Map<string, HostTensor>() };
  for (const [name, tensor] of trained) tensors.push([TRAINED + name, tensor]);
  const block = JSON.stringify({
    layers: layers.map(({ name, tokens, report }) => ({ name, tokens, report })),
    error: error === undefined ? undefined : finiteOrNull(error),
    decision,
    reconstructed: reconstructed && reconstruction,
  });
  const { bytes } = encodeHeader(tensors.map(([name, { dtype, shape }]) => ({ name, dtype, shape })), {
    block,
  });
  return [bytes, ...tensors.map(([, { data }]) => data)];
}

/** @throws {MalformedAnswerError} if `body` is not the file that `encodeBlock` writes */
export function decodeBlock(body: Uint8Array<ArrayBuffer>): SolvedBlock {
  try {
    const { header, tensors } = decode(body, { maxHeaderBytes: MAX_CHECKPOINT_HEADER_BYTES });
    const { layers, reconstructed, ...block } = metadataSchema.parse(JSON.parse(header.metadata.block ?? ""));
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
    throw new MalformedAnswerError(`answer of /v1/blocks: ${fault}`, { cause });
  }
}

/**
 * Checks that an answer has all layers, that their weights are finite, and that they have the zeros of their reports,
 * because a host may be broken or may lie. The shapes are checked when the weights are stored.
 * @param names the names of the layers of the request
 * @throws {MalformedAnswerError} naming the first layer that disagrees
 */
export function checkSolved({ layers }: SolvedBlock, names: readonly string[]): void {
  const malformed = (fault: string) => new MalformedAnswerError(`answer of /v1/blocks: ${fault}`);
  const solved = new Map(layers.map((layer) => [layer.name, layer]));
  for (const name of names) {
    const layer = solved.get(name);
    if (!layer) throw malformed(`the layer ${name} is missing`);
    const { weight: { dtype, data }, report } = layer;
    if (!isFloatDtype(dtype)) throw malformed(`the weight ${name} is ${dtype}`);
    const values = bytesToFloats(data, dtype);
    let zeros = 0;
    for (const value of values) {
      if (!Number.isFinite(value)) throw malformed(`the weight ${name} has an entry that is not finite`);
      if (value === 0) zeros++;
    }
    if (zeros < report.zeros) {
      throw malformed(`the weight ${name} has ${zeros} zeros, but its report says ${report.zeros}`);
    }
  }
}
