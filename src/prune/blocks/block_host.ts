/** The client of the hidden states that a run has at a host, which prunes the blocks of its model. */

import { receivedStoredStates } from "../../client/answers/received.ts";
import { parseAnswer } from "../../client/answers/parse_answer.ts";
import { PareError } from "../../client/errors.ts";
import { type CallOptions, Transport, type TransportOptions } from "../../client/transport.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { searchParamsOf } from "../../protocol/search_params.ts";
import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { decodeBlock } from "./block_answer.ts";
import type { SolvedBlock } from "./prune_block.ts";

/** The parameters of `POST /v1/blocks`, except for the name of the states. */
export interface BlockParameters {
  readonly block: number;
  readonly advance?: boolean;
  readonly true_sequential?: boolean;
  readonly reconstruct?: number;
  readonly format?: string;
}

/** The room for the reports of an answer, in bytes. Those of a block with a thousand experts take 2 MB. */
const REPORT_BYTES = 2 ** 24;

/** The tensors of a block. They are read for each attempt to send them. */
export interface BlockTensors {
  readonly byteLength: number;
  read(): Promise<ReadonlyMap<string, HostTensor>>;
}

/** The hidden states of one name at one host. All methods throw `PareError`, `ConnectionError` and `MalformedAnswerError`. */
export class BlockHost {
  readonly #transport: Transport;

  /** @param name the name of the states, of at most 64 characters */
  constructor(options: TransportOptions, readonly name: string) {
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
   * Creates the states before the first block.
   * @param config the object in config.json
   * @param names the names of the tensors of the first block, by which the host tells the variants of a family apart
   * @param read reads the windows, and the tensors of the model before its first block
   */
  async create(
    config: Readonly<Record<string, unknown>>,
    names: readonly string[],
    read: BlockTensors["read"],
    { target, signal }: CallOptions & { readonly target: "none" | "dense" },
  ): Promise<void> {
    await this.#transport.send({
      method: "PUT",
      path: `/v1/states/${this.name}`,
      query: searchParamsOf({ target }),
      body: async () =>
        bodyOf(await read(), { config: JSON.stringify(config), names: JSON.stringify(names) }),
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
      body: async () => bodyOf(await tensors.read(), metadata),
      maxAnswerBytes: countAnswerBytes(tensors.byteLength, layers),
      signal,
    });
    return decodeBlock(answer);
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
  requestBytes: number,
  layers: Readonly<Record<string, LayerQuery>> = {},
): number {
  const columns = Math.min(...Object.values(layers).map(({ group_size }) => group_size || 8));
  return (4 + 1 + 8 / columns + 2) / 2 * requestBytes + REPORT_BYTES;
}

/** Returns the parts of a safetensors file, in order and without a copy. */
export function bodyOf(
  tensors: ReadonlyMap<string, HostTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer>[] {
  const infos = Array.from(tensors, ([name, { dtype, shape }]) => ({ name, dtype, shape }));
  return [encodeHeader(infos, metadata).bytes, ...Array.from(tensors.values(), ({ data }) => data)];
}
