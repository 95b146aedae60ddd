/** Reads the body of `POST /v1/blocks`, prunes the block, and returns the answer. */

import { createHash, type Hash } from "node:crypto";
import { z } from "zod";
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
import { sentOptions } from "../../protocol/run_options.ts";
import { blockLayersSchema, type BlockQuery } from "../../protocol/resources/blocks.ts";
import { encodeBlock } from "../../client/blocks/block_answer.ts";
import type { SolvedBlock } from "../../client/blocks/solved_block.ts";
import { pruneBlock } from "../../prune/blocks/prune_block.ts";
import { errorAgainstModel, runPrunedBlock } from "../../prune/block_meter.ts";
import { weightName } from "../../prune/block_plan.ts";
import { reconstructBlock } from "../../prune/reconstruct_block.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import type { SafetensorsHeader } from "../../tensor/safetensors/header.ts";
import { isObject } from "../../base/json.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { checkCheckpointTensors, MAX_BLOCK_HEADER_BYTES } from "./check_body.ts";
import { countSumsBytes, sumParts } from "./sum_parts.ts";
import { metadataJson } from "./read_spec.ts";
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
  const { query, store, totalBytes } = request, { block } = query;
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
  const stream = await openSafetensors(source, { totalBytes, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  try {
    const work = workOf(stream.header, query, states);
    const bytes = totalBytes + countAddedBytes(states, query, work);
    using _room = await store.reserve("the block", bytes, { used: states });
    for (const entry of await readTensors(stream)) states.weights.set(...entry);
    const solved = await solve(states, request, work), parts = encodeBlock(solved);
    if (endsBlock(query, work)) {
      states.answer = { block, request: formatDigest(hash.digest()), parts };
      states.nextBlock = query.advance ? block + 1 : spec.blockCount;
    }
    return { parts, solved: solved.layers };
  } finally {
    states.weights.clear();
    await stream.close();
  }
}

/** Does the work, with the tensors of the body in `states.weights`. */
async function solve(
  states: States,
  { query, signal, store, name, runSolve }: BlockRequest,
  { queries, isTrained }: BlockWork,
): Promise<SolvedBlock> {
  const { forward } = states, { block } = query;
  try {
    return await runSolve(async () => {
      if (!query.solve) {
        const source = withReplacements(memorySource(states.weights), prunedTensors(states));
        states.sums = await sumParts(states, query, queries, source, signal);
        return { layers: [], sums: countTokens(states.sums) };
      }
      if (isTrained) return await trainBlock(states, query, signal);
      if (queries.size === 0) return await runStates(states, query);
      return await pruneBlock({
        ...states,
        block,
        queries,
        ...sentOptions(query),
        advances: query.advance,
        signal,
      });
    });
  } catch (error) {
    if (!forward.isBefore(block)) await store.delete(name, states);
    throw blockError(error);
  } finally {
    forward.freeActivations();
  }
}

/** The work that a request asks for. */
interface BlockWork {
  /** The layers to prune, or whose statistics are stored. */
  readonly queries: ReadonlyMap<string, LayerQuery>;
  /** Whether the block is trained with its pruned tensors, and nothing else is done. */
  readonly isTrained: boolean;
}

/** Whether the states are then those before the next block, or those of a run that has ended. */
function endsBlock({ solve, error_against }: BlockQuery, { isTrained }: BlockWork): boolean {
  return solve && !isTrained && error_against === "block";
}

/** Returns the bytes of the statistics and the further hidden states that the work has in memory. */
function countAddedBytes(states: States, query: BlockQuery, { isTrained }: BlockWork): number {
  const { forward: { denseStates, model: { spec }, tokens }, windows, validationWindows } = states;
  if (!query.solve) {
    return countSumsBytes(spec, query.block, states, query.targets && denseStates !== undefined);
  }
  const bytesOf = (count: number) => countStatesBytes(spec, count, tokens);
  // The outputs of the dense block for the held-out windows are in memory until they are compared. A reconstruction needs
  // those for all windows, unless the states of the dense model have run through the block, and are these outputs.
  const copiesStates = query.reconstruct > 0 && (isTrained || !denseStates);
  return bytesOf(validationWindows.length) +
    (copiesStates ? bytesOf(windows.length + validationWindows.length) : 0);
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

/** Checks the header of the body, and returns the work. @throws {TensorMismatchError} {Refusal} */
function workOf(
  { tensors: infos, metadata }: SafetensorsHeader,
  { block, advance, solve, targets, error_against, reconstruct }: BlockQuery,
  { forward: { denseStates, model: { spec } }, validationWindows }: States,
): BlockWork {
  const tensors = blockTensors(spec, block), hasPruned = infos.some(({ name }) => name.startsWith(PRUNED));
  const queries = readQueries(metadata.layers, spec, block), isSolved = solve && queries.size > 0;
  if (solve && !isSolved && !advance && !hasPruned) {
    throw invalidParameter("advance", "must be true without layers to prune and without pruned tensors");
  }
  if (!solve && advance) throw invalidParameter("solve", "false needs advance=false");
  if (solve && !targets) throw invalidParameter("targets", "false needs solve=false");
  if (!solve && reconstruct > 0) {
    throw invalidParameter(
      "reconstruct",
      `needs solve=true, because nothing is trained without, got ${reconstruct}`,
    );
  }
  const isTrained = solve && !isSolved && hasPruned && reconstruct > 0;
  if (isTrained && (advance || error_against === "model")) {
    const rule = "trains pruned tensors only with advance=false and without error_against=model";
    throw invalidParameter("reconstruct", rule);
  }
  const isMeasured = solve && !isSolved && !advance;
  if (error_against === "model" && !(isMeasured && denseStates && validationWindows.length > 0)) {
    const rule = "model needs no layers, advance=false, and states with target=dense and held-out windows";
    throw invalidParameter("error_against", rule);
  }
  const replaced = tensors.map(([name, shape]) => [PRUNED + name, shape] as const);
  checkCheckpointTensors(infos, tensors, isSolved ? [] : replaced);
  return { queries, isTrained };
}

/** Returns the error to answer with. A pruner wraps the error of a layer as a client does that a server refuses. */
function blockError(error: unknown): unknown {
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

/** Trains the block with its replaced tensors. The states do not change. */
async function trainBlock(
  states: States,
  { block, reconstruct: epochs }: BlockQuery,
  signal: AbortSignal,
): Promise<SolvedBlock> {
  const { forward, weights, windows } = states, begin = () => () => signal.throwIfAborted();
  const openBlock = { block, weights: memorySource(weights), replaced: prunedTensors(states) };
  const task = { forward, openBlock, epochs, fitted: windows.length, begin };
  return { layers: [], reconstructed: await reconstructBlock(task) };
}

/** Returns the number of tokens in the sums of each layer. */
function countTokens({ layers }: StoredSums): SolvedBlock["sums"] {
  return Array.from(layers, ([name, { tokens: { fitted, heldOut } }]) => {
    return { name, tokens: fitted, validation_tokens: heldOut };
  });
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
