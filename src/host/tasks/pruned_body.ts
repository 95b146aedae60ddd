/** Builds the body of `POST /v1/blocks` that runs hidden states through a block which an earlier request has pruned. */

import { MalformedAnswerError } from "../../client/errors.ts";
import { shortened, tryParseJson } from "../../base/texts.ts";
import { memorySource } from "../../model/checkpoint/tensor_source.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { PRUNED } from "../../protocol/block_names.ts";
import { blockLayersSchema } from "../../protocol/resources/blocks.ts";
import type { JoinTask } from "../../protocol/resources/tasks.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { decodeBlock } from "../../client/blocks/block_answer.ts";
import type { SolvedBlock } from "../../client/blocks/solved_block.ts";
import { weightName } from "../../prune/block_plan.ts";
import { storedWeight } from "../../prune/open_round.ts";
import { gridOfQuery, packAnswer } from "../../prune/quantized_model.ts";
import { isFloatDtype } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { openSafetensors, type SafetensorsStream } from "../../tensor/safetensors/decode.ts";
import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import { MAX_BLOCK_HEADER_BYTES } from "../blocks/check_body.ts";
import type { States } from "../blocks/states.ts";
import type { BlobBody } from "./blob_store.ts";
import type { TaskContext } from "./task_context.ts";

/** A block of a model, and how it was pruned. */
export interface PrunedBlock {
  readonly spec: ModelSpec;
  readonly index: number;
  readonly isPacked: boolean;
}

/**
 * Returns the file with the tensors of `body`, and those of `solved` that replace them.
 * @param body the body of the request that has pruned the block
 * @param solved the answer to that request
 * @param given the metadata of the file
 * @throws {SafetensorsError} if `body` is malformed
 * @throws {Refusal} `shape_mismatch` if the tensors of `solved` do not fit
 */
export async function prunedBody(
  body: BlobBody,
  solved: SolvedBlock,
  block: PrunedBlock,
  given: Readonly<Record<string, string>> = {},
): Promise<BlobBody> {
  const file = await openSafetensors(body.bytes, { ...body, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  try {
    const replaced = replacedTensors(solved, file, block);
    const infos = Array.from(replaced, ([name, { dtype, shape }]) => ({ name, dtype, shape }));
    const header = encodeHeader([...file.header.tensors, ...infos], given);
    return {
      totalBytes: header.bytes.byteLength + header.dataBytes,
      bytes: joinedBytes(header.bytes, file, replaced),
    };
  } catch (error) {
    await file.close();
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    throw new Refusal("shape_mismatch", `the pruned block ${block.index}: ${error.message}`, {
      cause: error,
    });
  }
}

/**
 * Reads answers for a block into memory, and calls `work` with them. Their tensors have room in the form of the checkpoint too.
 * @param used the states that the task uses
 * @throws {Refusal} `malformed_safetensors` if an answer is not that of a block, and the errors of `BlobStore` and `work`
 */
export async function withAnswers<T>(
  sources: JoinTask["parts"],
  used: States,
  { blobs, states }: TaskContext,
  signal: AbortSignal,
  work: (answers: readonly SolvedBlock[]) => Promise<T>,
): Promise<T> {
  const files: BlobBody[] = [], answers: SolvedBlock[] = [];
  for (const source of sources) files.push(await blobs.open(source, signal));
  const byteLength = files.reduce((sum, { totalBytes }) => sum + totalBytes, 0);
  using _room = await states().reserve("the pruned block", 2 * byteLength, { used });
  for (const file of files) answers.push(await readAnswer(file));
  return await work(answers);
}

/** Reads the answer for a block into memory. @throws {Refusal} `malformed_safetensors` if it is not that of a block */
async function readAnswer({ bytes, totalBytes }: BlobBody): Promise<SolvedBlock> {
  const whole = new Uint8Array(totalBytes);
  let length = 0;
  for await (const chunk of bytes) {
    whole.set(chunk, length);
    length += chunk.byteLength;
  }
  return decodeAnswer(whole);
}

/** Decodes the answer for a block. @throws {Refusal} `malformed_safetensors` if it is not that of a block */
export function decodeAnswer(whole: Uint8Array<ArrayBuffer>): SolvedBlock {
  try {
    return decodeBlock(whole);
  } catch (cause) {
    if (!(cause instanceof MalformedAnswerError)) throw cause;
    throw new Refusal("malformed_safetensors", cause.message, { cause });
  }
}

async function* joinedBytes(
  header: Uint8Array,
  file: SafetensorsStream,
  tensors: ReadonlyMap<string, HostTensor>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield header;
    for await (const { bytes } of file.chunks()) yield bytes;
    for (const { data } of tensors.values()) yield data;
  } finally {
    await file.close();
  }
}

/**
 * Returns the tensors that replace those of the block, by their names in the checkpoint after `PRUNED`. They have the
 * dtypes and shapes of the block, as the hidden states ran through them when the block was pruned.
 */
function replacedTensors(
  { layers, reconstructed }: SolvedBlock,
  { header: { tensors, metadata } }: SafetensorsStream,
  { spec, index, isPacked }: PrunedBlock,
): Map<string, HostTensor> {
  const linears = new Map(
    spec.block(index).groups.flat().map((linear) => [weightName(spec, index, linear), linear]),
  );
  const dense = memorySource(new Map(tensors.map((info) => [info.name, { ...info, data: NO_BYTES }])));
  const queries = blockLayersSchema.safeParse(tryParseJson(metadata.layers ?? "{}")).data ?? {};
  const replaced = new Map<string, HostTensor>();
  for (const { name, weight, quantized } of layers) {
    const linear = linears.get(name), grid = gridOfQuery(queries[name] ?? {});
    if (!linear || !dense.has(name)) throw new RangeError(`has no layer ${shortened(name)}`);
    const { dtype } = dense.info(name);
    if (isPacked && grid && !quantized) throw new RangeError(`${shortened(name)} has no codes`);
    const stored = isPacked && grid && isFloatDtype(dtype)
      ? packAnswer(name, quantized, grid, dtype).dense
      : weight;
    replaced.set(PRUNED + name, storedWeight(dense, name, linear, stored));
  }
  for (const [name, tensor] of reconstructed?.tensors ?? []) replaced.set(PRUNED + name, tensor);
  return replaced;
}

/** The data of the dense tensors, of which only the dtypes and shapes are used. */
const NO_BYTES = new Uint8Array(0);
