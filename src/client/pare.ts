/**
 * The SDK: prunes a layer, or a whole model layer by layer, through any Pare host or edge. It moves tensors and
 * keeps them whole; it never computes on them, so it runs wherever `fetch` does.
 */

import { z } from "zod";
import { formatDigest, sha256 } from "../protocol/digest.ts";
import { encode } from "../safetensors/encode.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { CallOptions } from "./call_options.ts";
import { PareError } from "./errors.ts";
import type { PruneEvent } from "./events.ts";
import { isOverBodyLimit, pruneLargeLayer } from "./jobs/large_layers.ts";
import { decodeAnswer, encodeParts, type LayerTensors, type PrunedLayer } from "./layer_file.ts";
import { HostPool } from "./host_pool.ts";
import type { ModelSource } from "./model_source.ts";
import { type LayerQuery, layerSearchParams } from "../protocol/layer_query.ts";
import { type ModelPruner, type ModelQuery, pruneRounds } from "./rounds.ts";
import { Transport, type TransportOptions } from "./transport.ts";

export type { CallOptions } from "./call_options.ts";
export type { LayerTensors, PrunedLayer } from "./layer_file.ts";

/** What a host solves on, in the words of its reports. */
export interface HostDescription {
  readonly backend: string;
  readonly adapter: string;
}

/** A client of one Pare host or edge. */
export class Pare implements ModelPruner {
  readonly #options: TransportOptions;
  readonly #transport: Transport;
  /** Length of the shortest body that was over a limit with another way past it. */
  #overLimitBytes = Infinity;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#transport = new Transport(options);
  }

  /**
   * Solves one layer. One that is over the body limit of an edge goes there as blobs, and is solved by a job.
   * @throws {PareError} with the host's code and detail when it refuses
   */
  async pruneLayer(
    tensors: LayerTensors,
    query: LayerQuery = {},
    options: CallOptions = {},
  ): Promise<PrunedLayer> {
    const body = encodeParts(tensors), bytes = body.reduce((sum, part) => sum + part.length, 0);
    // A job knows no statistics that a host keeps: who named them has them, and asks again with them.
    const mayBeJob = query.hessian === undefined;
    if (mayBeJob && bytes >= this.#overLimitBytes) {
      return await pruneLargeLayer(this.#options, tensors, query, options);
    }
    try {
      const answer = await this.#transport.send({
        method: "POST",
        path: "/v1/layers",
        query: layerSearchParams(query),
        body,
        signal: options.signal,
      });
      return decodeAnswer(answer);
    } catch (error) {
      if (!isOverBodyLimit(error)) throw error;
      this.#overLimitBytes = Math.min(bytes, this.#overLimitBytes);
      if (!mayBeJob) throw error;
      return await pruneLargeLayer(this.#options, tensors, query, options);
    }
  }

  /**
   * Stores statistics that several layers share, under the digest of their file; the host factors them once.
   * @returns the name to give as `hessian` in a layer's query
   */
  async putHessian(hessianUpper: HostTensor, options: CallOptions = {}): Promise<string> {
    const body = encode({ hessian_upper: hessianUpper });
    const digest = formatDigest(await sha256(body));
    await this.#transport.send({
      method: "PUT",
      path: `/v1/hessians/${digest}`,
      body: [body],
      signal: options.signal,
    });
    return digest;
  }

  /** Lets the host forget stored statistics. Forgetting what is not there is no error. */
  async deleteHessian(digest: string, options: CallOptions = {}): Promise<void> {
    try {
      await this.#transport.send({
        method: "DELETE",
        path: `/v1/hessians/${digest}`,
        signal: options.signal,
      });
    } catch (error) {
      if (!(error instanceof PareError && error.status === 404)) throw error;
    }
  }

  /**
   * Streams a model through the host, layer by layer, replacing each weight in `source` as it comes back. Layers that
   * share one input send its statistics once.
   * @param query the parameters of every layer, or those of a layer by its name
   * @throws {PareError} as `pruneLayer`; layers already replaced stay replaced
   * @throws the signal's reason as soon as it is aborted, though the source may still be at its current step
   */
  pruneModel(
    source: ModelSource,
    query: ModelQuery = {},
    options: CallOptions = {},
  ): AsyncGenerator<PruneEvent, void, void> {
    const pool = new HostPool([this]);
    return pruneRounds(source, query, (...round) => pool.solveRound(...round), options);
  }

  /** What the host solves on, once it can. @throws {PareError} `no_device`, `device_lost`, `unauthorized` */
  async describeHost(options: CallOptions = {}): Promise<HostDescription> {
    const answer = await this.#transport.send({ method: "GET", path: "/readyz", signal: options.signal });
    return parseDescription(answer);
  }
}

const descriptionSchema = z.object({ backend: z.string(), adapter: z.object({ name: z.string() }) });

/** @throws {TypeError} */
function parseDescription(body: Uint8Array<ArrayBuffer>): HostDescription {
  try {
    const { backend, adapter } = descriptionSchema.parse(JSON.parse(new TextDecoder().decode(body)));
    return { backend, adapter: adapter.name };
  } catch (cause) {
    throw new TypeError("answer of /readyz: tells of no backend and adapter", { cause });
  }
}
