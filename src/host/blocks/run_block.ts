/** Reads the body of `POST /v1/blocks`, prunes the block, and returns the answer. */

import { createHash } from "node:crypto";
import { z } from "zod";
import { PareError } from "../../client/errors.ts";
import { DeviceLostError, OutOfDeviceMemoryError } from "../../device/backend.ts";
import { memorySource, withReplacements } from "../../model/checkpoint/tensor_source.ts";
import { blockTensors } from "../../model/families/check_tensors.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { type Digest, formatDigest, hashedStream } from "../../protocol/digest.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { ProblemCode } from "../../protocol/problem_codes.ts";
import { invalidParameter, invalidParameters, Refusal } from "../../protocol/refusal.ts";
import { blockLayersSchema, type BlockQuery } from "../../protocol/resources/blocks.ts";
import { encodeBlock } from "../../prune/blocks/block_answer.ts";
import { pruneBlock, type SolvedBlock } from "../../prune/blocks/prune_block.ts";
import { weightName } from "../../prune/block_plan.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import { MAX_CHECKPOINT_HEADER_BYTES } from "../../tensor/safetensors/header.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { checkCheckpointTensors } from "./check_tensors.ts";
import { type States, StatesNotFoundError, type StoredAnswer } from "./states_store.ts";

/** The prefix of tensors that replace those of the block. */
export const PRUNED = "pruned.";

export interface BlockRequest {
  readonly source: AsyncIterable<Uint8Array>;
  readonly totalBytes: number;
  readonly query: BlockQuery;
  readonly signal: AbortSignal;
  /** Called before the tensors are read, with the bytes of the body. It throws if there is no room for them. */
  makeRoom(byteLength: number): void;
  /** Runs work on the device when no other solve runs. */
  runSolve<T>(work: () => Promise<T>): Promise<T>;
  /** Called if the work failed, so that the states can no longer be used. */
  onBroken(): void;
}

/**
 * Prunes a block, or runs the states through it. A repeated request gets the stored answer.
 * @returns the parts of the answer, and the layers that this request has pruned
 * @throws {StatesNotFoundError} if the states are not those before the block
 * @throws {SafetensorsError} {TensorMismatchError} {Refusal} {DeviceLostError} {OutOfDeviceMemoryError}
 */
export async function runBlock(
  states: States,
  request: BlockRequest,
): Promise<{ readonly parts: StoredAnswer["parts"]; readonly solved: SolvedBlock["layers"] }> {
  const { query, signal, runSolve, onBroken } = request, { block, advance } = query;
  const { forward, nextBlock } = states, { spec } = forward.model;
  if (block >= spec.blockCount) {
    throw invalidParameter("block", `must be below ${spec.blockCount}, the number of blocks of the model`);
  }
  if (block !== nextBlock && block !== states.answer?.block) {
    throw new StatesNotFoundError(query.states, `are those before block ${nextBlock}, not ${block}`);
  }
  const { queries, tensors, digest } = await readBody(request, spec);
  if (states.answer?.request === digest) return { parts: states.answer.parts, solved: [] };
  if (block !== nextBlock) throw new StatesNotFoundError(query.states, `are not those before block ${block}`);
  states.answer = undefined;
  for (const [name, tensor] of tensors) states.weights.set(name, tensor);
  try {
    const solved = await runSolve(() =>
      queries.size === 0 ? advanceStates(states, block) : pruneBlock({
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
    states.answer = { block, request: digest, parts };
    states.nextBlock = advance ? block + 1 : spec.blockCount;
    return { parts, solved: solved.layers };
  } catch (error) {
    onBroken();
    throw blockError(error);
  } finally {
    states.weights.clear();
    forward.freeActivations();
  }
}

interface ReadBlock {
  readonly queries: ReadonlyMap<string, LayerQuery>;
  readonly tensors: ReadonlyMap<string, HostTensor>;
  /** The digest of the parameters and the body. */
  readonly digest: Digest;
}

/** Reads the layers to prune and the tensors, and closes the source. */
async function readBody(
  { source, totalBytes, query, makeRoom }: BlockRequest,
  spec: ModelSpec,
): Promise<ReadBlock> {
  const { block, advance } = query, hash = createHash("sha256").update(JSON.stringify(query));
  const stream = await openSafetensors(hashedStream(source, hash), {
    totalBytes,
    maxHeaderBytes: MAX_CHECKPOINT_HEADER_BYTES,
  });
  try {
    const { tensors: infos, metadata } = stream.header, tensors = blockTensors(spec, block);
    const queries = readQueries(metadata.layers, spec, block);
    if (queries.size === 0 && !advance) {
      throw invalidParameter("advance", "must be true without layers to prune");
    }
    const replaced = tensors.map(([name, shape]) => [PRUNED + name, shape] as const);
    checkCheckpointTensors(infos, tensors, queries.size > 0 ? [] : replaced);
    makeRoom(totalBytes);
    const read = await readTensors(stream);
    return { queries, tensors: read, digest: formatDigest(hash.digest()) };
  } finally {
    await stream.close();
  }
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

/** Runs the states through the block with its replaced tensors, and the states of the dense model through the block. */
async function advanceStates({ forward, weights }: States, block: number): Promise<SolvedBlock> {
  const replaced = [...weights].filter(([name]) => name.startsWith(PRUNED))
    .map(([name, tensor]) => [name.slice(PRUNED.length), tensor] as const);
  const source = withReplacements(memorySource(weights), new Map(replaced));
  await forward.runBlock(block, undefined, source);
  if (forward.denseStates) await forward.runDenseBlock();
  return { layers: [] };
}

/** Returns the parameters of the layers to prune. @throws {Refusal} `invalid_parameter` */
function readQueries(json: string | undefined, spec: ModelSpec, block: number): Map<string, LayerQuery> {
  if (json === undefined) return new Map();
  let given: unknown;
  try {
    given = JSON.parse(json);
  } catch {
    throw invalidParameter("layers", "is not valid JSON");
  }
  const parsed = z.object({ layers: blockLayersSchema }).safeParse({ layers: given });
  if (!parsed.success) throw invalidParameters(parsed.error);
  const names = new Set(spec.block(block).groups.flat().map((linear) => weightName(spec, block, linear)));
  for (const [name, { pattern }] of Object.entries(parsed.data.layers)) {
    if (!names.has(name)) throw invalidParameter(`layers.${name}`, `is not a linear layer of block ${block}`);
    if (pattern !== "columns") continue;
    throw invalidParameter(`layers.${name}.pattern`, "columns would change the shapes of the block");
  }
  return new Map(Object.entries(parsed.data.layers));
}
