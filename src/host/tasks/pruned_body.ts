/** Builds the body of `POST /v1/blocks/run` that runs hidden states through a block which an earlier request has pruned. */

import { tryParseJson } from "../../base/json.ts";
import { shortened } from "../../base/texts.ts";
import { memorySource } from "../../model/checkpoint/tensor_source.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import type { WrittenFormat } from "../../model/formats/format.ts";
import { PRUNED } from "../../protocol/blocks/block_names.ts";
import { blockLayersSchema } from "../../protocol/resources/blocks.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { decodeBlock } from "../../protocol/blocks/block_answer.ts";
import type { SolvedBlock } from "../../protocol/blocks/solved_block.ts";
import { weightName } from "../../prune/block_plan.ts";
import { storedWeight } from "../../prune/open_block.ts";
import { gridOfQuery, packAnswer } from "../../prune/quantized_model.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { openSafetensors, type SafetensorsStream } from "../../tensor/safetensors/decode.ts";
import { MAX_BLOCK_HEADER_BYTES } from "../blocks/check_body.ts";
import type { BlobBody } from "./blob_store.ts";
import { joinedFile } from "./joined_file.ts";

/** A block of a model, and how it was pruned. */
export interface PrunedBlock {
  readonly spec: ModelSpec;
  readonly index: number;
  /** The format of the result. Undefined if it is dense. */
  readonly format?: WrittenFormat;
}

/**
 * Returns the file with the tensors of `body`, and with the tensors of `solved` that replace them.
 * @param body the body of the request that has pruned the block
 * @param solved the answer to that request
 * @throws {SafetensorsError} if `body` is malformed
 * @throws {Refusal} `shape_mismatch` if the tensors of `solved` do not fit
 */
export async function prunedBody(
  body: BlobBody,
  solved: SolvedBlock,
  block: PrunedBlock,
): Promise<BlobBody> {
  const file = await openSafetensors(body.bytes, { ...body, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  try {
    return joinedFile([file], replacedTensors(solved, file, block));
  } catch (error) {
    await file.close();
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    throw new Refusal("shape_mismatch", `the pruned block ${block.index}: ${error.message}`, {
      cause: error,
    });
  }
}

/** Reads the answer for a block into memory. @throws {Refusal} `malformed_safetensors` if it is not the answer for a block */
export async function readAnswer({ bytes, totalBytes }: BlobBody): Promise<SolvedBlock> {
  const whole = new Uint8Array(totalBytes);
  let length = 0;
  for await (const chunk of bytes) {
    whole.set(chunk, length);
    length += chunk.byteLength;
  }
  try {
    return decodeBlock(whole);
  } catch (cause) {
    throw new Refusal("malformed_safetensors", (cause as RangeError).message, { cause });
  }
}

/**
 * Returns the tensors that replace tensors of the block. A key is `PRUNED` with the name in the checkpoint. The
 * tensors have the dtypes and shapes of the block, as when the block was pruned.
 */
function replacedTensors(
  { layers, reconstructed }: SolvedBlock,
  { header: { tensors, metadata } }: SafetensorsStream,
  { spec, index, format }: PrunedBlock,
): Map<string, HostTensor> {
  const linears = new Map(
    spec.block(index).groups.flat().map((linear) => [weightName(spec, index, linear), linear]),
  );
  const dense = memorySource(new Map(tensors.map((info) => [info.name, { ...info, data: NO_BYTES }])));
  const given = blockLayersSchema.safeParse(tryParseJson(metadata.layers ?? "{}")).data ?? {};
  const queries = new Map(Object.entries(given));
  const replaced = new Map<string, HostTensor>();
  for (const { name, weight, quantized } of layers) {
    const linear = linears.get(name), query = queries.get(name) ?? {};
    if (!linear || !dense.has(name)) throw new RangeError(`has no layer ${shortened(name)}`);
    if (format && gridOfQuery(query) && !quantized) throw new RangeError(`${shortened(name)} has no codes`);
    const stored =
      packAnswer(format, query, { layer: { name, weight: dense.info(name) }, weight, quantized }).dense;
    replaced.set(PRUNED + name, storedWeight(dense, name, linear, stored));
  }
  for (const [name, tensor] of reconstructed?.tensors ?? []) replaced.set(PRUNED + name, tensor);
  return replaced;
}

/** The data of the dense tensors, of which only the dtypes and shapes are used. */
const NO_BYTES = new Uint8Array(0);
