/** The client of the hidden states that a run has at a host, which prunes the blocks of its model. */

import { parseAnswer } from "../answers/parse_answer.ts";
import { receivedStoredStates } from "../../protocol/received.ts";
import { PareError } from "../errors.ts";
import { type CallOptions, Transport, type TransportOptions } from "../transport.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { PROBE_ROWS } from "../../protocol/blocks/block_names.ts";
import type { SentRunOptions } from "../../protocol/run/sent_run_options.ts";
import { searchParamsOf } from "../../protocol/search_params.ts";
import { encodeParts } from "../../tensor/safetensors/encode.ts";
import type { BlockTensors } from "../request_body.ts";
import { checkSolved, decodeAnswer, type ExpectedBlock } from "./check_block.ts";
import {
  type AddedSums,
  countSumsBytes,
  decodeSums,
  encodeSums,
  type LayerSums,
  type TargetsRequest,
} from "./layer_sums.ts";
import type { SolvedBlock } from "../../protocol/blocks/solved_block.ts";

/** The step that prunes the layers of a block, and answers them. */
export interface PruneStep extends SentRunOptions {
  /** The kind of the step. */
  readonly kind: "prune";
  /** The index of the block, from 0. */
  readonly block: number;
  /** Whether the states then run through the pruned block. @default true */
  readonly advance?: boolean;
}

/**
 * A step on the block of the index `block`. `kind` is the end of the path `/v1/blocks/KIND`. `collect` stores the statistics of layers for
 * `addSums`, and with `targets` the moments from which their targets follow. `train` and `measure` work on a block with tensors `pruned.*`,
 * and leave the states as they are. The outputs against which `measure` compares are those of the dense block with the same inputs, or
 * those of the block in the dense model. `run` runs the states through a block.
 */
export type BlockStep =
  | PruneStep
  | { readonly kind: "collect"; readonly block: number; readonly targets?: boolean }
  | { readonly kind: "train"; readonly block: number; readonly epochs: number }
  | { readonly kind: "measure"; readonly block: number; readonly against?: "block" | "model" }
  | { readonly kind: "run"; readonly block: number };

/** The room for the reports of an answer, in bytes. Those of a block with a thousand experts take 2 MB. */
const REPORT_BYTES = 2 ** 24;

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
   * @param tensors the windows and the tensors of the model before its first block, or `hidden_states`. The table of tokens may
   * have only some rows. The ids in the windows are then the indices of its rows
   * @throws {PareError} `invalid_parameter` for Gemma 4 E2B and E4B, whose blocks hosts do not run
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
      body: encodeParts(tensors, { config: JSON.stringify(config), names: JSON.stringify(names) }),
      signal,
    });
  }

  /**
   * Does a step on a block, and returns what it answers.
   * @param layers the parameters of the layers to prune or to collect, by the names of their weights
   * @throws {MalformedAnswerError} as `checkSolved`, if the answer is not the pruned block
   */
  async run(
    step: BlockStep,
    tensors: BlockTensors,
    layers?: Readonly<Record<string, LayerQuery>>,
    { signal, ...expected }: CallOptions & ExpectedBlock = {},
  ): Promise<SolvedBlock> {
    const { kind, ...parameters } = step, metadata = layers && { layers: JSON.stringify(layers) };
    const answer = await this.#transport.send({
      method: "POST",
      path: `/v1/blocks/${kind}`,
      query: searchParamsOf({ states: this.name, ...parameters }),
      body: encodeParts(tensors, metadata),
      maxAnswerBytes: countAnswerBytes(tensors, layers),
      signal,
    });
    const solved = decodeAnswer(answer);
    if (layers && step.kind === "prune") {
      await checkSolved(solved, { ...expected, parameters: step, tensors, queries: layers });
    }
    return solved;
  }

  /**
   * Adds the statistics of the layer `layer`, which the step `collect` has stored, to the statistics of the earlier windows.
   * @param inFeatures n, the number of inputs of the layer
   * @param earlier the sums of the windows before, if there are any
   * @param targets needed if the layers have targets. With weights, the answer has their targets in place of the moments
   */
  async addSums(
    layer: string,
    inFeatures: number,
    earlier: LayerSums,
    { targets, signal }: CallOptions & { readonly targets?: TargetsRequest } = {},
  ): Promise<AddedSums> {
    const path = `/v1/states/${this.name}/sums`, request = { path, inFeatures, targets };
    const answer = await this.#transport.send({
      method: "POST",
      path,
      query: searchParamsOf({ layer }),
      body: encodeSums(earlier, targets),
      maxAnswerBytes: countSumsBytes(request) + REPORT_BYTES,
      signal,
    });
    return decodeSums(answer, request);
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
 * one each for its mask and its code, and eight for its share of the scale and the zero of a group, and two again if it is
 * trained. The rows without groups have at least eight columns.
 */
export function countAnswerBytes(
  tensors: BlockTensors,
  layers: Readonly<Record<string, LayerQuery>> = {},
): number {
  const requestBytes = [...tensors.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
  const columns = Math.min(...Object.values(layers).map(({ group_size }) => group_size || 8));
  const inputs = Object.keys(layers).map((name) => Math.max(...tensors.get(name)?.shape ?? [0]));
  const probeBytes = 4 * PROBE_ROWS * inputs.reduce((sum, columns) => sum + columns, 0);
  return (4 + 1 + 1 + 8 / columns + 2) / 2 * requestBytes + probeBytes + REPORT_BYTES;
}
