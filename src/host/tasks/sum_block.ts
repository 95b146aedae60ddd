/**
 * Adds up the statistics of a block for a job whose windows are divided over several hosts. The sums of all groups of layers
 * are one file, which goes from host to host in the order of the windows. In this file, the sums of a group have the name of
 * its first layer.
 */

import { z } from "zod";
import { firstItems, tryParseJson } from "../../base/texts.ts";
import type { LayerSums as SumTensors } from "../../client/blocks/layer_sums.ts";
import { TensorMismatchError } from "../../layer/errors.ts";
import type { TokenCounts } from "../../prune/blocks/summed_layers.ts";
import { Refusal } from "../../protocol/refusal.ts";
import type { FinishedTask, SumTask } from "../../protocol/resources/tasks.ts";
import { sameShape } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import { MAX_BLOCK_HEADER_BYTES } from "../blocks/check_body.ts";
import { type LayerSums, type States, type StoredSums, TASK_OWNER } from "../blocks/states.ts";
import { StatesNotFoundError } from "../blocks/states_store.ts";
import { addParts, SUM_NAMES } from "../blocks/sum_parts.ts";
import type { BlobBody } from "./blob_store.ts";
import { type RoundBody, roundBody } from "./round_body.ts";
import { statesOfTask, type TaskContext, uploadParts } from "./task_context.ts";

/** The statistics of a block over the windows of one share and of all shares before. */
export interface BlockSums {
  /** The sums of the groups, in the form of `POST /v1/states/{name}/sums`. */
  readonly tensors: ReadonlyMap<string, HostTensor>;
  /** The numbers of tokens, by the names of the groups' first layers. */
  readonly tokens: ReadonlyMap<string, TokenCounts & Pick<LayerSums, "isTarget">>;
}

/** The metadata of the file, which is JSON under the name `sums`. */
const metadataSchema = z.array(
  z.object({
    name: z.string(),
    tokens: z.int().min(0),
    validation_tokens: z.int().min(0),
    isTarget: z.boolean(),
  }),
);

/**
 * Runs the task.
 * @param accumulate has the host add up the statistics of the windows of the states, and store them. It gets the body of the block
 * @throws {StatesNotFoundError} if the states are not those before the block
 * @throws {SafetensorsError} {TensorMismatchError} {Refusal} if the earlier sums are not those of the block
 */
export async function sumBlock(
  task: SumTask,
  context: TaskContext,
  signal: AbortSignal,
  accumulate: Parameters<RoundBody["open"]>[0],
): Promise<FinishedTask> {
  const { states: name, index, earlier, result } = task, store = context.states();
  const states = await statesOfTask(name, context), { nextBlock } = states;
  if (nextBlock !== index) throw new StatesNotFoundError(name, `are those before block ${nextBlock}`);
  const round = await roundBody(task, states, context, signal), { answer } = round;
  if (!round.isOf(states.sums)) {
    await round.open(accumulate);
    if (states.sums) states.sums.round = task.round;
  }
  if (!result) return { state: "done", ...answer };
  const file = earlier && await context.blobs.open(earlier, signal);
  return await store.use({ owner: TASK_OWNER, name }, async (used: States) => {
    if (!used.sums || !round.isOf(used.sums)) {
      throw new StatesNotFoundError(name, `have no statistics of block ${index}`);
    }
    const bytes = used.sums.byteLength + (file?.totalBytes ?? 0);
    using _room = await store.reserve("the sums of the block", bytes, { used });
    const parts = await addBlock(used.sums, file && await readSums(file));
    return { ...await uploadParts(parts, result.url, context, signal), ...answer };
  }, signal);
}

/** Returns the parts of the file with the sums of the windows before and of those of `sums`. */
async function addBlock({ layers }: StoredSums, earlier?: BlockSums): Promise<Uint8Array<ArrayBuffer>[]> {
  const tensors: [string, HostTensor][] = [], tokens: z.output<typeof metadataSchema> = [];
  const seen = new Set<LayerSums>();
  for (const [name, sums] of layers) {
    if (seen.has(sums)) continue;
    seen.add(sums);
    const given = earlier ? sumsOf(earlier, name) : {}, before = earlier?.tokens.get(name);
    for (const { hessian, moments } of Object.values(SUM_NAMES)) {
      requireForm(name, given[hessian], sums.parts.hessian_upper[0]);
      requireForm(name, given[moments], sums.parts.moments.at(0));
    }
    for (const [kind, tensor] of await addParts(given, sums)) tensors.push([`${name}.${kind}`, tensor]);
    const { fitted, heldOut } = sums.tokens;
    tokens.push({
      name,
      tokens: fitted + (before?.tokens ?? 0),
      validation_tokens: heldOut + (before?.validation_tokens ?? 0),
      isTarget: sums.isTarget,
    });
  }
  const infos = tensors.map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const header = encodeHeader(infos, { sums: JSON.stringify(tokens) });
  return [header.bytes, ...tensors.map(([, { data }]) => data as Uint8Array<ArrayBuffer>)];
}

/** @param expected undefined if the host has no such sums */
function requireForm(name: string, given?: HostTensor, expected?: HostTensor): void {
  if (!given || given.dtype === "F32" && expected && sameShape(given.shape, expected.shape)) return;
  const wanted = expected ? `sums F32 [${expected.shape}]` : "no such sums";
  throw new TensorMismatchError(name, wanted, `${given.dtype} [${firstItems(given.shape)}]`);
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

/** Returns the sums of the group whose first layer is `name`. @throws {Refusal} `shape_mismatch` if there are none */
export function sumsOf({ tensors }: BlockSums, name: string): SumTensors {
  const kinds = Object.values(SUM_NAMES).flatMap(({ hessian, moments }) => [hessian, moments]);
  const sums = kinds.map((kind) => [kind, tensors.get(`${name}.${kind}`)] as const);
  if (!sums[0][1]) throw new Refusal("shape_mismatch", `the sums of the block have none of layer ${name}`);
  return Object.fromEntries(sums.filter(([, tensor]) => tensor));
}
