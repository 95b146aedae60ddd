/**
 * The answer of `POST /v1/blocks`, which the host encodes and the client decodes. The weight of a layer has the name that
 * it has in the checkpoint. The other tensors of the layer have this name with `.mask` and `.probe`, and `.codes`, `.scales`
 * and `.zeros` if it is rounded. The tensors of a reconstruction have the prefix `trained.`.
 */

import * as z from "zod/mini";
import { messageOf } from "../../base/errors.ts";
import { firstItems } from "../../base/texts.ts";
import { MASK, PROBE, TRAINED } from "../../protocol/block_names.ts";
import { countWanted } from "../answers/check_pruned.ts";
import { checkQuantized } from "../answers/check_quantized.ts";
import { receivedReport } from "../answers/received.ts";
import { MalformedAnswerError } from "../errors.ts";
import { BYTES_PER_ELEMENT, countZeros, isFloatDtype, sameShape } from "../../tensor/dtype.ts";
import { decode } from "../../tensor/safetensors/decode.ts";
import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import { MAX_CHECKPOINT_HEADER_BYTES } from "../../tensor/safetensors/header.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { ReconstructedBlock, SolvedBlock, SolvedBlockLayer } from "./solved_block.ts";

/** A number that may be infinite or NaN, which JSON writes as null. */
const numberOrNaN = z.pipe(z.nullable(z.number()), z.transform((value) => value ?? NaN));

/** The metadata of the file, which is JSON under the name `block`. */
const metadataSchema = z.object({
  layers: z.array(z.object({
    name: z.string(),
    tokens: z.optional(z.int()),
    report: receivedReport,
  })),
  sums: z.optional(z.array(z.object({ name: z.string(), tokens: z.int(), validation_tokens: z.int() }))),
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
    throw malformed(fault, { cause });
  }
}

/** The request of an answer. */
export interface SolvedRequest {
  /** The parameters of the layers to prune, by their names. */
  readonly queries: Readonly<Record<string, LayerQuery>>;
  /** The tensors of the block, with their shapes. */
  readonly tensors: readonly (readonly [name: string, shape: readonly number[]])[];
  readonly isReconstructed: boolean;
  /** Whether windows are held out. */
  readonly isMeasured: boolean;
}

/**
 * Checks an answer, because a host may be broken or may lie. All layers and figures must be present, and all values finite.
 * Each weight must have the zeros of its report, and the zeros and codes that its parameters ask for. The trained tensors must
 * be those of the block. The shapes of the layers are checked when their weights are stored.
 * @throws {MalformedAnswerError} naming the first disagreement
 */
export function checkSolved(
  { layers, error, reconstructed }: SolvedBlock,
  { queries, tensors, isReconstructed, isMeasured }: SolvedRequest,
): void {
  const zeros = new Map(layers.map(({ name, report }) => [name, report.zeros]));
  const missing = Object.keys(queries).find((name) => !zeros.has(name));
  if (missing) throw malformed(`the layer ${missing} is missing`);
  for (const layer of layers) {
    checkValues(layer.name, layer.weight, zeros.get(layer.name));
    const query = queries[layer.name];
    if (query) checkQuery(layer, query);
  }
  if (isMeasured && error === undefined) throw malformed("the error on the held-out windows is missing");
  if (isReconstructed || reconstructed) checkTrained(reconstructed, tensors, zeros);
}

/**
 * Checks the reconstruction of a block whose layers were pruned before.
 * @param tensors the tensors of the block, with their shapes
 * @param zeros the numbers of zeros of the pruned weights by their names. The trained ones must have as many
 * @throws {MalformedAnswerError} naming the first disagreement
 */
export function checkTrained(
  reconstructed: ReconstructedBlock | undefined,
  tensors: SolvedRequest["tensors"],
  zeros: ReadonlyMap<string, number>,
): asserts reconstructed is ReconstructedBlock {
  if (!reconstructed) throw malformed("the reconstruction is missing");
  const shapes = new Map(tensors);
  for (const [name, tensor] of reconstructed.tensors) {
    const shape = shapes.get(name);
    if (!shape) throw malformed(`the trained tensor ${name} is not one of the block`);
    if (!sameShape(tensor.shape, shape)) {
      throw malformed(`the trained tensor ${name} is [${firstItems(tensor.shape)}], not [${shape}]`);
    }
    checkValues(name, tensor, zeros.get(name), "the pruned weight has");
  }
}

/** @throws {MalformedAnswerError} if fewer weights are pruned than the query asks for, or if they are not rounded as it asks */
function checkQuery(layer: SolvedBlockLayer, query: LayerQuery): void {
  const { name, weight: { shape: [rows, cols] }, report } = layer, wanted = countWanted(query, rows, cols);
  if (report.zeros <= wanted - 1) {
    throw malformed(
      `the layer ${name} has ${report.zeros} zeros, but the query asks for ${Math.round(wanted)}`,
    );
  }
  try {
    checkQuantized(layer, query);
  } catch (cause) {
    throw malformed(`the layer ${name}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * @param source the subject and the verb of a sentence about `least`
 * @throws {MalformedAnswerError} if the values are not finite floats, or fewer than `least` of them are zeros
 */
function checkValues(
  name: string,
  { dtype, data }: HostTensor,
  least = 0,
  source = "its report says",
): void {
  if (!isFloatDtype(dtype)) throw malformed(`the weight ${name} is ${dtype}`);
  const zeros = countZeros(data, dtype);
  if (zeros === undefined) throw malformed(`the weight ${name} has an entry that is not finite`);
  if (zeros < least) throw malformed(`the weight ${name} has ${zeros} zeros, but ${source} ${least}`);
}

function malformed(fault: string, options?: ErrorOptions): MalformedAnswerError {
  return new MalformedAnswerError(`answer of /v1/blocks: ${fault}`, options);
}
