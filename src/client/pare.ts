/**
 * The SDK: prunes a layer, or a whole model layer by layer, through any Pare host or edge. It moves tensors and
 * keeps them whole; it never computes on them, so it runs wherever `fetch` does.
 */

import { formatDigest, sha256 } from "../protocol/digest.ts";
import type { Report } from "../protocol/report.ts";
import { encode } from "../safetensors/encode.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { untilAborted } from "./abort.ts";
import type { CallOptions } from "./call_options.ts";
import { PareError } from "./errors.ts";
import type { PruneEvent } from "./events.ts";
import { isOverBodyLimit, pruneLargeLayer } from "./large_layers.ts";
import { decodeAnswer, encodeParts, type LayerTensors, type PrunedLayer } from "./layer_file.ts";
import type { LayerGroup, ModelSource } from "./model_source.ts";
import { type LayerQuery, toSearchParams } from "./query.ts";
import { Transport, type TransportOptions } from "./transport.ts";

export type { CallOptions } from "./call_options.ts";
export type { LayerTensors, PrunedLayer } from "./layer_file.ts";

/** A client of one Pare host or edge. */
export class Pare {
  readonly #options: TransportOptions;
  readonly #transport: Transport;

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
    try {
      const answer = await this.#transport.send({
        method: "POST",
        path: "/v1/layers",
        query: toSearchParams(query),
        body: encodeParts(tensors),
        signal: options.signal,
      });
      return decodeAnswer(answer);
    } catch (error) {
      // A job knows no statistics that a host keeps: who named them has them, and asks again with them.
      if (!isOverBodyLimit(error) || query.hessian !== undefined) throw error;
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
  async *pruneModel(
    source: ModelSource,
    query: LayerQuery | ((name: string) => LayerQuery) = {},
    options: CallOptions = {},
  ): AsyncGenerator<PruneEvent, void, void> {
    const queryOf = typeof query === "function" ? query : () => query;
    const started = performance.now();
    let done = 0;
    yield { type: "start", layers: source.layerCount };
    for await (const group of untilAborted(source.groups(), options.signal)) {
      for await (const { name, report } of this.#pruneGroup(group, queryOf, options)) {
        yield { type: "layer", name, block: group.block, done: ++done, report };
      }
    }
    yield { type: "done", layers: done, seconds: (performance.now() - started) / 1000 };
  }

  async *#pruneGroup(
    group: LayerGroup,
    queryOf: (name: string) => LayerQuery,
    options: CallOptions,
  ): AsyncGenerator<{ name: string; report: Report }, void, void> {
    const shared = group.layers.length > 1 ? await this.#share(group.hessian, options) : undefined;
    for (const { name, weight } of group.layers) {
      const query = queryOf(name);
      const pruned = shared === undefined
        ? await this.pruneLayer({ weight, hessian_upper: group.hessian }, query, options)
        : await this.#pruneShared(weight, group.hessian, { ...query, hessian: shared }, options);
      await group.replace(name, pruned.weight);
      yield { name, report: pruned.report };
    }
    if (shared !== undefined) await this.deleteHessian(shared, options);
  }

  /** Stores statistics; undefined where they are more than the host keeps: they then go with each layer. */
  async #share(hessian: HostTensor, options: CallOptions): Promise<string | undefined> {
    try {
      return await this.putHessian(hessian, options);
    } catch (error) {
      if (error instanceof PareError && error.code === "too_large") return undefined;
      throw error;
    }
  }

  /** As the contract asks: statistics the host has evicted meanwhile are sent again, once. */
  async #pruneShared(
    weight: HostTensor,
    hessian: HostTensor,
    query: LayerQuery,
    options: CallOptions,
  ): Promise<PrunedLayer> {
    try {
      return await this.pruneLayer({ weight }, query, options);
    } catch (error) {
      if (isOverBodyLimit(error)) {
        const tensors = { weight, hessian_upper: hessian };
        return await pruneLargeLayer(this.#options, tensors, query, options);
      }
      if (!(error instanceof PareError && error.code === "hessian_not_found")) throw error;
      await this.putHessian(hessian, options);
      return await this.pruneLayer({ weight }, query, options);
    }
  }
}
