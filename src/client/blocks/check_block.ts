/** Checks that an answer is the requested block, because a host may be another version, may be broken, or may lie. */

import { firstItems } from "../../base/texts.ts";
import { PROBE, PROBE_ROWS } from "../../protocol/blocks/block_names.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { bytesToFloats, type FloatDtype, sameShape } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { transpose } from "../../tensor/transpose.ts";
import { checkPruned, mostKeptZeros, type RequestedLayer } from "../answers/check_pruned.ts";
import { requireForm } from "../answers/parse_answer.ts";
import { MalformedAnswerError } from "../errors.ts";
import { decodeBlock } from "../../protocol/blocks/block_answer.ts";
import type { BlockTensors, SentTensor } from "../request_body.ts";
import type {
  ReconstructedBlock,
  SolvedBlock,
  SolvedBlockLayer,
} from "../../protocol/blocks/solved_block.ts";

/** Facts about an expected answer that its request does not have. */
export interface ExpectedBlock {
  /** Whether windows are held out, so that the answer has the error of the block. @default false */
  readonly isMeasured?: boolean;
  /** The names of the weights that the checkpoint stores as (inFeatures, outFeatures), as GPT-2 does. @default none */
  readonly transposed?: ReadonlySet<string>;
}

/** The request that is answered, and the expected answer. */
export interface SolvedRequest extends ExpectedBlock {
  /** The number of epochs in which the pruned block is trained. @default 0 */
  readonly parameters: { readonly reconstruct?: number };
  /** The tensors of the block before it is pruned. */
  readonly tensors: BlockTensors;
  /** The parameters of the layers to prune, by their names. */
  readonly queries: Readonly<Record<string, LayerQuery>>;
}

/**
 * Checks an answer. All layers and figures must be present, and each layer must pass `checkPruned`. The error of a layer is measured with
 * random combinations of the calibration inputs. They come from the answer, so a host can forge them together with the weight. The trained
 * tensors must be tensors of the block, with the zeros of its layers.
 * @throws {MalformedAnswerError} naming the first disagreement
 */
export async function checkSolved(
  { layers, error, reconstructed }: SolvedBlock,
  request: SolvedRequest,
): Promise<void> {
  const { queries, parameters: { reconstruct = 0 }, isMeasured } = request;
  const names = layers.map(({ name }) => name), other = names.find((name) => !Object.hasOwn(queries, name));
  if (other !== undefined) throw malformed(`the layer ${other} was not requested`);
  if (new Set(names).size < names.length) throw malformed("a layer occurs twice");
  const missing = Object.keys(queries).find((name) => !names.includes(name));
  if (missing) throw malformed(`the layer ${missing} is missing`);
  for (const layer of layers) await checkLayer(layer, request);
  if (isMeasured && error === undefined) throw malformed("the error on the held-out windows is missing");
  if (reconstruct === 0 && !reconstructed) return;
  const pruned = layers.map(({ name, weight }) => [name, oriented(name, weight, request)] as const);
  checkTrained(reconstructed, new Map(pruned), request.tensors);
}

/**
 * Checks a reconstruction.
 * @param pruned the pruned weights of the block, as the checkpoint stores them. The trained weights must keep these zeros
 * @throws {MalformedAnswerError} naming the first disagreement
 */
export function checkTrained(
  reconstructed: ReconstructedBlock | undefined,
  pruned: ReadonlyMap<string, HostTensor>,
  tensors: BlockTensors,
): asserts reconstructed is ReconstructedBlock {
  if (!reconstructed) throw malformed("the reconstruction is missing");
  for (const [name, tensor] of reconstructed.tensors) {
    const sent = tensors.get(name),
      fail = (fault: string) => malformed(`the trained tensor ${name} ${fault}`);
    if (!sent) throw fail("is not in the block");
    if (tensor.dtype !== sent.dtype || !sameShape(tensor.shape, sent.shape)) {
      const form = `${tensor.dtype} [${firstItems(tensor.shape)}]`;
      throw fail(`is ${form}, not ${sent.dtype} [${sent.shape}]`);
    }
    const values = bytesToFloats(tensor.data, tensor.dtype as FloatDtype);
    if (!values.every(Number.isFinite)) throw fail("has an entry that is not finite");
    const before = pruned.get(name);
    if (!before) continue;
    const kept = bytesToFloats(before.data, before.dtype as FloatDtype);
    const filled = values.findIndex((value, i) => value !== 0 && kept[i] === 0);
    if (filled >= 0) throw fail(`has ${values[filled]} at index ${filled}, where the pruned weight is 0`);
    const lost = values.reduce((count, value, i) => count + (value === 0 && kept[i] !== 0 ? 1 : 0), 0);
    if (lost > mostKeptZeros(values.length)) {
      throw fail(`has ${lost} zeros where the pruned weight has none`);
    }
  }
}

async function checkLayer(layer: SolvedBlockLayer, request: SolvedRequest): Promise<void> {
  const { name, probe } = layer, { token_weights: _, ...query } = request.queries[name];
  const weight = await weightOf(name, request);
  // A layer that is rounded after the training has a report that compares it with the trained weight, which is not in the request.
  const isRoundedLast = (request.parameters.reconstruct ?? 0) > 0 &&
    Object.values(request.queries).some(({ bits }) => bits !== undefined);
  named(name, () => {
    const requested: RequestedLayer = { query, tensors: { weight }, isCalibratedByHost: true };
    if (isRoundedLast) return checkPruned(layer, { ...requested, mayPruneMore: true });
    if (!probe) throw malformed(`the tensor ${name}${PROBE} is missing`);
    requireForm("probe", probe, "F32", [PROBE_ROWS, weight.shape[1]]);
    checkPruned(layer, { ...requested, tensors: { weight, inputs: probe } });
  });
}

/** Decodes an answer. @throws {MalformedAnswerError} */
export function decodeAnswer(body: Uint8Array<ArrayBuffer>): SolvedBlock {
  try {
    return decodeBlock(body);
  } catch (error) {
    throw new MalformedAnswerError((error as RangeError).message, { cause: error });
  }
}

/** @param fault the rest of the sentence "answer of /v1/blocks: …" */
function malformed(fault: string): MalformedAnswerError {
  return new MalformedAnswerError(`answer of /v1/blocks: ${fault}`);
}

/** Adds the name of a tensor to the message of an error. */
function named(name: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (error instanceof MalformedAnswerError) error.message = `${name}: ${error.message}`;
    throw error;
  }
}

/** Returns the weight of a layer before it is pruned, (outFeatures, inFeatures). */
async function weightOf(name: string, request: SolvedRequest): Promise<HostTensor> {
  const sent = request.tensors.get(name);
  if (!sent) throw malformed(`the layer ${name} is not in the block`);
  return oriented(name, await readSent(sent), request);
}

/** Returns the transpose of a weight that the checkpoint stores transposed. */
function oriented(name: string, weight: HostTensor, { transposed }: SolvedRequest): HostTensor {
  return transposed?.has(name) ? transpose(weight) : weight;
}

async function readSent({ data, ...form }: SentTensor): Promise<HostTensor> {
  if (data instanceof Uint8Array) return { ...form, data };
  const bytes = new Uint8Array(data.byteLength);
  let filled = 0;
  for await (const chunk of data.chunks()) {
    bytes.set(chunk, filled);
    filled += chunk.byteLength;
  }
  return { ...form, data: bytes };
}
