/** Reads the body of `POST /v1/blocks`, prunes the block, and returns the answer. */

import { createHash, type Hash } from "node:crypto";
import { z } from "zod";
import { tryParseJson } from "../../base/texts.ts";
import { PareError } from "../../client/errors.ts";
import { DeviceLostError, OutOfDeviceMemoryError } from "../../device/backend.ts";
import { memorySource, withReplacements } from "../../model/checkpoint/tensor_source.ts";
import { blockTensors } from "../../model/families/check_tensors.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { countStatesBytes } from "../../model/hidden_states/hidden_states.ts";
import { formatDigest, hashedStream } from "../../protocol/digest.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { ProblemCode } from "../../protocol/problem_codes.ts";
import { invalidParameter, invalidParameters, Refusal } from "../../protocol/refusal.ts";
import { PRUNED } from "../../protocol/block_names.ts";
import { blockLayersSchema, type BlockQuery } from "../../protocol/resources/blocks.ts";
import { encodeBlock } from "../../client/blocks/block_answer.ts";
import type { SolvedBlock } from "../../client/blocks/solved_block.ts";
import { pruneBlock } from "../../prune/blocks/prune_block.ts";
import { errorAgainstModel, runPrunedBlock } from "../../prune/block_meter.ts";
import { weightName } from "../../prune/block_plan.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { checkCheckpointTensors, MAX_BLOCK_HEADER_BYTES } from "./check_body.ts";
import { countSumsBytes, sumParts } from "./sum_parts.ts";
import type { States, StatesName, StoredAnswer, StoredSums } from "./states.ts";
import { StatesNotFoundError, type StatesStore } from "./states_store.ts";

export interface BlockRequest {
  readonly source: AsyncIterable<Uint8Array>;
  readonly totalBytes: number;
  readonly query: BlockQuery;
  readonly signal: AbortSignal;
  /** The store that has the states, and their name in it. */
  readonly store: StatesStore;
  readonly name: StatesName;
  /** Runs work on the device when no other solve runs. */
  runSolve<T>(work: () => Promise<T>): Promise<T>;
}

/**
 * Prunes a block, or runs the states through it. A repeated request gets the stored answer. If the work fails while the
 * states are changed, they are deleted.
 * @returns the parts of the answer, and the layers that this request has pruned
 * @throws {StatesNotFoundError} if the states are not those before the block
 * @throws {SafetensorsError} {TensorMismatchError} {Refusal} {DeviceLostError} {OutOfDeviceMemoryError}
 */
export async function runBlock(
  states: States,
  request: BlockRequest,
): Promise<{ readonly parts: StoredAnswer["parts"]; readonly solved: SolvedBlock["layers"] }> {
  const { query, signal, runSolve, store, name, totalBytes } = request, { block, advance } = query;
  const { forward, nextBlock } = states, { spec } = forward.model;
  if (block >= spec.blockCount) {
    const rule = `must be below ${spec.blockCount}, the number of blocks of the model, got ${block}`;
    throw invalidParameter("block", rule);
  }
  const hash = createHash("sha256").update(JSON.stringify(query)),
    source = hashedStream(request.source, hash);
  if (block !== nextBlock) return { parts: await repeatedAnswer(states, query, source, hash), solved: [] };
  // A client that sends the next block has the answer for the one before.
  states.answer = states.sums = undefined;
  const copiesStates = query.reconstruct > 0 && !forward.denseStates;
  // The outputs of the dense block for the held-out windows are in memory until they are compared.
  const measuredBytes = countStatesBytes(spec, states.validationWindows.length, forward.tokens);
  const addedBytes = query.solve
    ? measuredBytes + (copiesStates ? states.byteLength : 0)
    : countSumsBytes(spec, block, states, forward.denseStates !== undefined);
  using _room = await store.reserve("the block", totalBytes + addedBytes, { used: states });
  const { queries, tensors } = await readBody({ ...request, source }, states);
  for (const entry of tensors) states.weights.set(...entry);
  try {
    if (!query.solve) {
      const source = withReplacements(memorySource(states.weights), prunedTensors(states));
      const sums = await runSolve(() => sumParts(states, block, queries, source, signal));
      states.sums = sums;
      return { parts: encodeBlock({ layers: [], sums: countTokens(sums) }), solved: [] };
    }
    const solved = await runSolve(() =>
      queries.size === 0 ? runStates(states, query) : pruneBlock({
        ...states,
        block,
        queries,
        trueSequential: query.true_sequential,
        reconstruct: query.reconstruct,
        isPacked: query.format === "pack-quantized",
        advances: advance,
        signal,
      })
    );
    const parts = encodeBlock(solved);
    states.answer = { block, request: formatDigest(hash.digest()), parts };
    if (query.error_against === "block") states.nextBlock = advance ? block + 1 : spec.blockCount;
    return { parts, solved: solved.layers };
  } catch (error) {
    if (!forward.isBefore(block)) await store.delete(name, states);
    throw blockError(error);
  } finally {
    states.weights.clear();
    forward.freeActivations();
  }
}

/** Returns the stored answer if the request is that of the answer. @throws {StatesNotFoundError} */
async function repeatedAnswer(
  { nextBlock, answer }: States,
  { states, block }: BlockQuery,
  body: AsyncIterable<Uint8Array>,
  hash: Hash,
): Promise<StoredAnswer["parts"]> {
  if (block === answer?.block) {
    for await (const _ of body);
    if (formatDigest(hash.digest()) === answer.request) return answer.parts;
  }
  throw new StatesNotFoundError(states, `are those before block ${nextBlock}, not ${block}`);
}

interface ReadBlock {
  readonly queries: ReadonlyMap<string, LayerQuery>;
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

/** Reads the layers to prune and the tensors, and closes the source. */
async function readBody(
  { source, totalBytes, query: { block, advance, solve, error_against } }: BlockRequest,
  { forward: { denseStates, model: { spec } }, validationWindows }: States,
): Promise<ReadBlock> {
  const stream = await openSafetensors(source, { totalBytes, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  try {
    const { tensors: infos, metadata } = stream.header, tensors = blockTensors(spec, block);
    const hasPruned = infos.some(({ name }) => name.startsWith(PRUNED));
    const queries = readQueries(metadata.layers, spec, block);
    if (solve && queries.size === 0 && !advance && !hasPruned) {
      throw invalidParameter("advance", "must be true without layers to prune and without pruned tensors");
    }
    if (!solve && advance) throw invalidParameter("solve", "false needs advance=false");
    const isMeasured = solve && queries.size === 0 && !advance;
    if (error_against === "model" && !(isMeasured && denseStates && validationWindows.length > 0)) {
      const rule = "model needs no layers, advance=false, and states with target=dense and held-out windows";
      throw invalidParameter("error_against", rule);
    }
    const replaced = tensors.map(([name, shape]) => [PRUNED + name, shape] as const);
    checkCheckpointTensors(infos, tensors, queries.size > 0 && solve ? [] : replaced);
    return { queries, tensors: await readTensors(stream) };
  } finally {
    await stream.close();
  }
}

/** Returns the error to answer with. A pruner wraps the error of a layer as a client does that a server refuses. */
export function blockError(error: unknown): unknown {
  if (error instanceof PareError) {
    const { code, message, cause } = error;
    const isOfDevice = cause instanceof DeviceLostError || cause instanceof OutOfDeviceMemoryError;
    return isOfDevice ? cause : new Refusal(code as ProblemCode, message, { cause });
  }
  // The calibration and the layout of rounded weights throw it for parameters that do not fit together.
  return error instanceof RangeError ? new Refusal("unsupported", error.message, { cause: error }) : error;
}

/** Returns the tensors that replace those of the block, by the names of the latter. */
function prunedTensors({ weights }: States): Map<string, HostTensor> {
  const pruned = [...weights].filter(([name]) => name.startsWith(PRUNED));
  return new Map(pruned.map(([name, tensor]) => [name.slice(PRUNED.length), tensor]));
}

/**
 * Runs the states through the block with its replaced tensors, and the states of the dense model through the block. If
 * tensors are replaced, measures the error on the held-out windows.
 */
async function runStates(
  states: States,
  { block, advance: advances, error_against }: BlockQuery,
): Promise<SolvedBlock> {
  const { forward, weights, windows, validationWindows } = states, replaced = prunedTensors(states);
  const dense = { block, weights: memorySource(weights) }, errors: number[] = [];
  const pruned = withReplacements(dense.weights, replaced), fitted = windows.length;
  if (error_against === "model") {
    return { layers: [], error: await errorAgainstModel(forward, block, pruned, fitted) };
  }
  await runPrunedBlock(forward, dense, pruned, {
    fitted,
    advances,
    onError: replaced.size > 0 && validationWindows.length > 0
      ? (error) => Promise.resolve(void errors.push(error))
      : undefined,
  });
  if (advances && forward.denseStates) await forward.runDenseBlock();
  return { layers: [], error: errors[0] };
}

/** Returns the number of tokens in the sums of each layer. */
function countTokens({ layers }: StoredSums): SolvedBlock["sums"] {
  return Array.from(layers, ([name, { tokens: { fitted, heldOut } }]) => {
    return { name, tokens: fitted, validation_tokens: heldOut };
  });
}

/** Returns the parameters of the layers to prune. @throws {Refusal} `invalid_parameter` */
export function readQueries(
  json: string | undefined,
  spec: ModelSpec,
  block: number,
): Map<string, LayerQuery> {
  if (json === undefined) return new Map();
  const given = tryParseJson(json);
  if (given === undefined) throw invalidParameter("layers", "is not valid JSON");
  const named = { layers: given }, parsed = z.object({ layers: blockLayersSchema }).safeParse(named);
  if (!parsed.success) throw invalidParameters(parsed.error, named);
  const names = new Set(spec.block(block).groups.flat().map((linear) => weightName(spec, block, linear)));
  for (const [name, { pattern }] of Object.entries(parsed.data.layers)) {
    if (!names.has(name)) throw invalidParameter(`layers.${name}`, `is not a linear layer of block ${block}`);
    if (pattern !== "columns") continue;
    throw invalidParameter(`layers.${name}.pattern`, "columns would change the shapes of the block");
  }
  return new Map(Object.entries(parsed.data.layers));
}
