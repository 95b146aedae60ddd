/** Reads the body of `POST /v1/blocks/KIND`, does the step, and returns the answer. */

import { createHash, type Hash } from "node:crypto";
import { z } from "zod";
import { DeviceLostError, OutOfDeviceMemoryError } from "../../device/backend.ts";
import { blockTensors } from "../../model/families/check_tensors.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { countStatesBytes } from "../../model/hidden_states/hidden_states.ts";
import { formatDigest, hashedStream } from "../../protocol/digest.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { layerRefusal, tensorMismatch } from "../../layer/errors.ts";
import { invalidParameter, invalidParameters, Refusal } from "../../protocol/refusal.ts";
import { PRUNED } from "../../protocol/blocks/block_names.ts";
import { blockLayersSchema, type BlockStep } from "../../protocol/resources/blocks.ts";
import { encodeBlock } from "../../protocol/blocks/block_answer.ts";
import type { SolvedBlock } from "../../protocol/blocks/solved_block.ts";
import { weightName } from "../../prune/block_plan.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import type { SafetensorsHeader } from "../../tensor/safetensors/header.ts";
import { isObject } from "../../base/json.ts";
import { checkCheckpointTensors, MAX_BLOCK_HEADER_BYTES } from "./check_body.ts";
import { doStep, type LayerQueries } from "./do_step.ts";
import { countSumsBytes } from "./sum_parts.ts";
import { metadataJson } from "./read_spec.ts";
import type { States, StatesName, StoredAnswer } from "./states.ts";
import { statesNotFound, type StatesStore } from "./states_store.ts";

export interface BlockRequest {
  readonly source: AsyncIterable<Uint8Array>;
  readonly totalBytes: number;
  readonly step: BlockStep;
  readonly signal: AbortSignal;
  /** The store that has the states, and their name in it. */
  readonly store: StatesStore;
  readonly name: StatesName;
  /** Runs work on the device when no other solve runs. */
  runSolve<T>(work: () => Promise<T>): Promise<T>;
}

/**
 * Does a step on a block. A repeated request that has changed the states gets the stored answer. If the work fails after it
 * has begun to change the states, they are deleted.
 * @returns the parts of the answer, and the layers that this request has pruned
 * @throws {Refusal} `states_not_found` if the states are not those before the block
 * @throws {SafetensorsError} {Refusal} {DeviceLostError} {OutOfDeviceMemoryError}
 */
export async function runBlock(
  states: States,
  request: BlockRequest,
): Promise<{ readonly parts: StoredAnswer["parts"]; readonly solved: SolvedBlock["layers"] }> {
  const { step, store, totalBytes } = request, { block } = step;
  const { forward, nextBlock } = states, { spec } = forward.model;
  if (block >= spec.blockCount) {
    const rule = `must be below ${spec.blockCount}, the number of blocks of the model, got ${block}`;
    throw invalidParameter("block", rule);
  }
  const hash = createHash("sha256").update(JSON.stringify(step)), source = hashedStream(request.source, hash);
  if (block !== nextBlock) return { parts: await repeatedAnswer(states, step, source, hash), solved: [] };
  // A client that sends the next block has the answer for the block before it.
  states.answer = states.sums = undefined;
  const stream = await openSafetensors(source, { totalBytes, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  try {
    const queries = checkBody(stream.header, step, states);
    const bytes = totalBytes + countAddedBytes(states, step);
    using _room = await store.reserve("the block", bytes, { used: states });
    for (const entry of await readTensors(stream)) states.weights.set(...entry);
    const solved = await solve(states, request, queries), parts = encodeBlock(solved);
    if (step.kind === "prune" || step.kind === "run") {
      states.answer = { block, request: formatDigest(hash.digest()), parts };
      states.nextBlock = step.kind === "run" || step.advance ? block + 1 : spec.blockCount;
    }
    return { parts, solved: solved.layers };
  } finally {
    states.weights.clear();
    await stream.close();
  }
}

/** Does the work on the device, with the tensors of the body in `states.weights`. */
async function solve(
  states: States,
  { step, signal, store, name, runSolve }: BlockRequest,
  queries: LayerQueries,
): Promise<SolvedBlock> {
  const { forward } = states;
  try {
    return await runSolve(() => doStep(states, step, queries, signal));
  } catch (error) {
    if (!forward.isBefore(step.block)) await store.delete(name, states);
    throw blockError(error);
  } finally {
    forward.freeActivations();
  }
}

/** Returns the bytes of the statistics and the further hidden states that the work has in memory. */
function countAddedBytes(states: States, step: BlockStep): number {
  const { forward: { denseStates, model: { spec }, tokens }, windows, validationWindows } = states;
  if (step.kind === "collect") {
    return countSumsBytes(spec, step.block, states, step.targets && denseStates !== undefined);
  }
  const bytesOf = (count: number) => countStatesBytes(spec, count, tokens);
  // The outputs of the dense block for the held-out windows are in memory until they are compared. A reconstruction needs
  // those for all windows, unless the states of the dense model have run through the block, and are these outputs.
  const copiesStates = step.kind === "train" || step.kind === "prune" && step.reconstruct > 0 && !denseStates;
  return bytesOf(validationWindows.length) +
    (copiesStates ? bytesOf(windows.length + validationWindows.length) : 0);
}

/** Returns the stored answer if it answers an equal request. @throws {Refusal} `states_not_found` */
async function repeatedAnswer(
  { nextBlock, answer }: States,
  { states, block }: BlockStep,
  body: AsyncIterable<Uint8Array>,
  hash: Hash,
): Promise<StoredAnswer["parts"]> {
  if (block === answer?.block) {
    for await (const _ of body);
    if (formatDigest(hash.digest()) === answer.request) return answer.parts;
  }
  throw statesNotFound(states, `are those before block ${nextBlock}, not ${block}`);
}

/** Checks the header of the body. Returns the parameters of its layers. @throws {Refusal} */
function checkBody(
  { tensors: infos, metadata }: SafetensorsHeader,
  step: BlockStep,
  { forward: { denseStates, model: { spec } }, validationWindows }: States,
): LayerQueries {
  const { kind, block } = step, tensors = blockTensors(spec, block);
  const queries = readQueries(metadata.layers, spec, block);
  if (kind !== "prune" && kind !== "collect" && queries.size > 0) {
    throw invalidParameter("layers", `must be absent for ${kind}, which solves no layers`);
  }
  if (kind === "measure" && validationWindows.length === 0) {
    throw invalidParameter("states", "must have held-out windows for measure");
  }
  if (kind === "measure" && step.against === "model" && !denseStates) {
    throw invalidParameter("against", "model needs states with target=dense");
  }
  const replaced = tensors.map(([name, shape]) => [PRUNED + name, shape] as const);
  if ((kind === "measure" || kind === "train") && !infos.some(({ name }) => name.startsWith(PRUNED))) {
    throw tensorMismatch(`${PRUNED}*`, `a tensor for ${kind}`, "none");
  }
  checkCheckpointTensors(infos, tensors, kind === "prune" ? [] : replaced);
  return queries;
}

/** Returns the error to answer with. The cause of an error of `DevicePruner` is the refusal of the layer, or the error of the device. */
function blockError(error: unknown): unknown {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof DeviceLostError || cause instanceof OutOfDeviceMemoryError) return cause;
  const refusal = layerRefusal(cause);
  if (refusal) return new Refusal(refusal.code, (error as Error).message, { cause });
  // The calibration and the layout of rounded weights throw it for parameters that do not fit together.
  return error instanceof RangeError ? new Refusal("unsupported", error.message, { cause: error }) : error;
}

/** Returns the parameters of the layers to prune. @throws {Refusal} `invalid_parameter` */
function readQueries(
  json: string | undefined,
  spec: ModelSpec,
  block: number,
): Map<string, LayerQuery> {
  if (json === undefined) return new Map();
  const names = new Set(spec.block(block).groups.flat().map((linear) => weightName(spec, block, linear)));
  const given = metadataJson("layers", json, { maxKeys: MAX_LAYER_KEYS * names.size });
  if (!isObject(given)) throw invalidParameter("layers", "must be an object");
  const queries = new Map<string, LayerQuery>();
  for (const name of Object.keys(given)) {
    if (!names.has(name)) throw invalidParameter(`layers.${name}`, `is not a linear layer of block ${block}`);
  }
  for (const [name, query] of Object.entries(given)) {
    const named = { layers: { [name]: query } }, parsed = namedQuerySchema.safeParse(named);
    if (!parsed.success) throw invalidParameters(parsed.error, named);
    queries.set(name, parsed.data.layers[name]);
    if (parsed.data.layers[name].pattern !== "columns") continue;
    throw invalidParameter(`layers.${name}.pattern`, "columns would change the shapes of the block");
  }
  return queries;
}

/** The name of a layer, and its parameters. */
const MAX_LAYER_KEYS = 64;

const namedQuerySchema = z.object({ layers: blockLayersSchema });
