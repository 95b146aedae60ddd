/**
 * Adds up the statistics of a block for a job whose windows are divided over several hosts. The sums of all groups of layers
 * are one file, which goes from host to host in the order of the windows. In this file, the sums of a group have the name of
 * its first layer.
 */

import { z } from "zod";
import { firstItems, tryParseJson } from "../../base/texts.ts";
import type { PackedStatistics } from "../../client/layer_file.ts";
import type { SumTokens } from "../../client/blocks/solved_block.ts";
import { TensorMismatchError } from "../../layer/errors.ts";
import type { TokenCounts } from "../../prune/blocks/summed_layers.ts";
import { Refusal } from "../../protocol/refusal.ts";
import type { FinishedTask, SumTask } from "../../protocol/resources/tasks.ts";
import { sameShape } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import { MAX_BLOCK_HEADER_BYTES } from "../blocks/check_body.ts";
import type { LayerSums, States, StoredSums } from "../blocks/states.ts";
import { StatesNotFoundError } from "../blocks/states_store.ts";
import { addParts } from "../blocks/sum_parts.ts";
import type { BlobBody } from "./blob_store.ts";
import { statesOfTask, type TaskContext, uploadParts } from "./task_context.ts";

/** The statistics of a block over the windows of one share and of all shares before. */
export interface BlockSums {
  /** The tensors of the groups: F32 [n(n+1)/2], the upper triangles packed row by row. */
  readonly tensors: ReadonlyMap<string, HostTensor>;
  /** The numbers of tokens, by the names of the groups' first layers. */
  readonly tokens: ReadonlyMap<string, TokenCounts>;
}

/** The metadata of the file, which is JSON under the name `sums`. */
const metadataSchema = z.array(
  z.object({ name: z.string(), tokens: z.int().min(0), validation_tokens: z.int().min(0) }),
);

/**
 * Runs the task.
 * @param accumulate has the host add up the statistics of the windows of the states, and store them
 * @throws {StatesNotFoundError} if the states are not those before the block
 * @throws {SafetensorsError} {TensorMismatchError} {Refusal} if the earlier sums are not those of the block
 */
export async function sumBlock(
  { states: name, index, earlier, result }: SumTask,
  context: TaskContext,
  signal: AbortSignal,
  accumulate: () => Promise<unknown>,
): Promise<FinishedTask> {
  const store = context.states(), { nextBlock, sums } = await statesOfTask(name, context);
  if (nextBlock !== index) throw new StatesNotFoundError(name, `are those before block ${nextBlock}`);
  if (!sums) await accumulate();
  if (!result) return { state: "done" };
  const file = earlier && await context.blobs.open(earlier, signal);
  return await store.use({ owner: "", name }, async (used: States) => {
    if (!used.sums) throw new StatesNotFoundError(name, `have no statistics of block ${index}`);
    const bytes = used.sums.byteLength + (file?.totalBytes ?? 0);
    using _room = await store.reserve("the sums of the block", bytes, { used });
    const parts = await addBlock(used.sums, file && await readSums(file));
    return await uploadParts(parts, result.url, context, signal);
  }, signal);
}

/** Returns the parts of the file with the sums of the windows before and of those of `sums`. */
async function addBlock({ layers }: StoredSums, earlier?: BlockSums): Promise<Uint8Array<ArrayBuffer>[]> {
  const tensors: [string, HostTensor][] = [], tokens: SumTokens[] = [], seen = new Set<LayerSums>();
  for (const [name, sums] of layers) {
    if (seen.has(sums)) continue;
    seen.add(sums);
    const given = earlier ? sumsOf(earlier, name) : {}, before = earlier?.tokens.get(name);
    for (const tensor of Object.values(given)) requireForm(name, tensor, sums.parts.hessian_upper[0]);
    for (const [kind, tensor] of await addParts(given, sums)) tensors.push([`${name}.${kind}`, tensor]);
    const { fitted, heldOut } = sums.tokens;
    tokens.push({
      name,
      tokens: fitted + (before?.tokens ?? 0),
      validation_tokens: heldOut + (before?.validation_tokens ?? 0),
    });
  }
  const infos = tensors.map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const header = encodeHeader(infos, { sums: JSON.stringify(tokens) });
  return [header.bytes, ...tensors.map(([, { data }]) => data as Uint8Array<ArrayBuffer>)];
}

function requireForm(name: string, { dtype, shape }: HostTensor, expected: HostTensor): void {
  if (dtype === "F32" && sameShape(shape, expected.shape)) return;
  throw new TensorMismatchError(name, `sums F32 [${expected.shape}]`, `${dtype} [${firstItems(shape)}]`);
}

/** Reads a file with sums into memory. @throws {SafetensorsError} {Refusal} `malformed_safetensors` */
export async function readSums({ bytes, totalBytes }: BlobBody): Promise<BlockSums> {
  const file = await openSafetensors(bytes, { totalBytes, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  const { data } = metadataSchema.safeParse(tryParseJson(file.header.metadata.sums ?? ""));
  if (!data) {
    await file.close();
    throw new Refusal("malformed_safetensors", "the metadata of the sums has no numbers of tokens");
  }
  return {
    tensors: await readTensors(file),
    tokens: new Map(data.map(({ name, ...tokens }) => [name, tokens])),
  };
}

/** Returns the statistics of the group whose first layer is `name`. @throws {Refusal} `shape_mismatch` if there are none */
export function sumsOf({ tensors }: BlockSums, name: string): PackedStatistics {
  const hessian_upper = tensors.get(`${name}.hessian_upper`);
  if (!hessian_upper) throw new Refusal("shape_mismatch", `the sums of the block have none of layer ${name}`);
  const validation_hessian_upper = tensors.get(`${name}.validation_hessian_upper`);
  return { hessian_upper, ...validation_hessian_upper && { validation_hessian_upper } };
}
