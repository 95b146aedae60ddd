/** The client of the hidden states that a run has at a host, which prunes the blocks of its model. */

import { parseAnswer } from "../answers/parse_answer.ts";
import { receivedStoredStates } from "../answers/received.ts";
import { MalformedAnswerError, PareError } from "../errors.ts";
import { encodeParts, type PackedStatistics } from "../layer_file.ts";
import type { BodyPart } from "../request_body.ts";
import { type CallOptions, Transport, type TransportOptions } from "../transport.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { searchParamsOf } from "../../protocol/search_params.ts";
import { firstItems } from "../../base/texts.ts";
import { sameShape } from "../../tensor/dtype.ts";
import { decode } from "../../tensor/safetensors/decode.ts";
import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { decodeBlock } from "./block_answer.ts";
import type { SolvedBlock } from "./solved_block.ts";

/** The parameters of `POST /v1/blocks`, except for the name of the states. */
export interface BlockParameters {
  /** The index of the block, from 0. */
  readonly block: number;
  /** Whether the states then run through the pruned block. @default true */
  readonly advance?: boolean;
  /** If it is false, the statistics of the layers are only stored, for `addSums`. Needs `advance` false. @default true */
  readonly solve?: boolean;
  /** Whether layers that share an input are calibrated after the earlier layers of the block are pruned. @default false */
  readonly true_sequential?: boolean;
  /** The number of epochs in which the pruned block is trained. @default 0 */
  readonly reconstruct?: number;
  /** `pack-quantized` if rounded weights will be stored in this layout. @default dense */
  readonly format?: string;
}

/** The room for the reports of an answer, in bytes. Those of a block with a thousand experts take 2 MB. */
const REPORT_BYTES = 2 ** 24;

/** The tensors of a block, by their names in the checkpoint. The data is in memory, or is read when it is sent. */
export type BlockTensors = ReadonlyMap<string, Omit<HostTensor, "data"> & { readonly data: BodyPart }>;

/**
 * The hidden states of one name at one host, which runs and prunes the blocks of a model. All methods throw `PareError`,
 * `ConnectionError` and `MalformedAnswerError`.
 */
export class BlockHost {
  /** The name of the states. */
  readonly name: string;
  readonly #transport: Transport;

  /** Makes a client. No request is sent yet. @param name the name of the states: at most 64 letters, digits, dots, hyphens and underscores */
  constructor(options: TransportOptions, name: string) {
    this.name = name;
    this.#transport = new Transport(options);
  }

  /** Returns the block whose inputs the host has, or undefined if the states are not stored. */
  async nextBlock({ signal }: CallOptions = {}): Promise<number | undefined> {
    const path = `/v1/states/${this.name}`;
    try {
      const answer = await this.#transport.send({ method: "GET", path, signal });
      return parseAnswer(receivedStoredStates, answer, path, "a description of states").next_block;
    } catch (error) {
      if (isStatesNotFound(error)) return undefined;
      throw error;
    }
  }

  /**
   * Creates the states before the first block, or before `block` if the tensors are the hidden states.
   * @param config the object in config.json
   * @param names the names of the tensors of the first block, by which the host tells the variants of a family apart
   * @param tensors the windows and the tensors of the model before its first block, or `hidden_states`
   */
  async create(
    config: Readonly<Record<string, unknown>>,
    names: readonly string[],
    tensors: BlockTensors,
    { target, block, signal }: CallOptions & { readonly target: "none" | "dense"; readonly block?: number },
  ): Promise<void> {
    await this.#transport.send({
      method: "PUT",
      path: `/v1/states/${this.name}`,
      query: searchParamsOf({ target, block }),
      body: bodyOf(tensors, { config: JSON.stringify(config), names: JSON.stringify(names) }),
      signal,
    });
  }

  /**
   * Prunes a block, or runs the states through it.
   * @param layers the parameters of the layers to prune, by the names of their weights
   */
  async run(
    parameters: BlockParameters,
    tensors: BlockTensors,
    layers?: Readonly<Record<string, LayerQuery>>,
    { signal }: CallOptions = {},
  ): Promise<SolvedBlock> {
    const metadata = layers && { layers: JSON.stringify(layers) };
    const answer = await this.#transport.send({
      method: "POST",
      path: "/v1/blocks",
      query: searchParamsOf({ states: this.name, ...parameters }),
      body: bodyOf(tensors, metadata),
      maxAnswerBytes: countAnswerBytes(tensors, layers),
      signal,
    });
    return decodeBlock(answer);
  }

  /**
   * Adds the statistics of the layer `layer`, which `run` has stored with `solve` false, to those of the windows before.
   * @param inFeatures n, the number of inputs of the layer
   * @param earlier the sums of the windows before, F32 [n(n+1)/2], if there are any
   */
  async addSums(
    layer: string,
    inFeatures: number,
    earlier: PackedStatistics,
    { signal }: CallOptions = {},
  ): Promise<PackedStatistics> {
    const path = `/v1/states/${this.name}/sums`, entries = inFeatures * (inFeatures + 1) / 2;
    const answer = await this.#transport.send({
      method: "POST",
      path,
      query: searchParamsOf({ layer }),
      body: encodeParts(earlier),
      maxAnswerBytes: 2 * 4 * entries + REPORT_BYTES,
      signal,
    });
    return decodeSums(answer, path, entries);
  }

  /** Deletes the states. States that do not exist cause no error. */
  async delete({ signal }: CallOptions = {}): Promise<void> {
    try {
      await this.#transport.send({ method: "DELETE", path: `/v1/states/${this.name}`, signal });
    } catch (error) {
      if (!isStatesNotFound(error)) throw error;
    }
  }
}

/** Whether the host has lost the states, or has those before another block. */
export function isStatesNotFound(error: unknown): boolean {
  return error instanceof PareError && error.code === "states_not_found";
}

/**
 * Returns the most bytes of an answer. A weight has at least two bytes in the request. In the answer it has four, with
 * one for its code and eight for its share of the scale and the zero of a group, and two again if it is trained. The
 * rows without groups have at least eight columns.
 */
export function countAnswerBytes(
  tensors: BlockTensors,
  layers: Readonly<Record<string, LayerQuery>> = {},
): number {
  const requestBytes = [...tensors.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
  const columns = Math.min(...Object.values(layers).map(({ group_size }) => group_size || 8));
  return (4 + 1 + 8 / columns + 2) / 2 * requestBytes + REPORT_BYTES;
}

/** @throws {MalformedAnswerError} if the file does not have sums of the right form */
function decodeSums(answer: Uint8Array<ArrayBuffer>, path: string, entries: number): PackedStatistics {
  const fail = (fault: string, cause?: unknown) =>
    new MalformedAnswerError(`answer of ${path}: ${fault}`, { cause });
  let tensors: ReadonlyMap<string, HostTensor>;
  try {
    ({ tensors } = decode(answer));
  } catch (error) {
    throw fail("is not a safetensors file", error);
  }
  const [sum, validation] = ["hessian_upper", "validation_hessian_upper"].map((name) => {
    const tensor = tensors.get(name);
    if (!tensor || tensor.dtype === "F32" && sameShape(tensor.shape, [entries])) return tensor;
    throw fail(`the tensor ${name} is ${tensor.dtype} [${firstItems(tensor.shape)}], not F32 [${entries}]`);
  });
  if (!sum) throw fail("the tensor hessian_upper is missing");
  return { hessian_upper: sum, validation_hessian_upper: validation };
}

/** Returns the parts of a safetensors file, in order and without a copy. */
export function bodyOf(tensors: BlockTensors, metadata: Readonly<Record<string, string>> = {}): BodyPart[] {
  const infos = Array.from(tensors, ([name, { dtype, shape }]) => ({ name, dtype, shape }));
  return [encodeHeader(infos, metadata).bytes, ...Array.from(tensors.values(), ({ data }) => data)];
}
