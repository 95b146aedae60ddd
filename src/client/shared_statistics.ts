/**
 * The statistics of one group at one host: sent with the first layer that needs them, named by the others, forgotten at the
 * end. A group of one layer has them in its request.
 */

import type { HostTensor } from "../tensor/host_tensor.ts";
import type { CallOptions } from "./call_options.ts";
import { PareError } from "./errors.ts";
import { isOverBodyLimit } from "./jobs/large_layers.ts";
import type { LayerTensors, PrunedLayer } from "./layer_file.ts";
import type { LayerGroup } from "./model_source.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";

/** What of a host solves layers: `Pare` is one. */
export interface LayerHost {
  pruneLayer(tensors: LayerTensors, query: LayerQuery, options: CallOptions): Promise<PrunedLayer>;
  putHessian(hessianUpper: HostTensor, options: CallOptions): Promise<string>;
  deleteHessian(digest: string, options: CallOptions): Promise<void>;
}

/** A group at a host. Its layers go there one after the other. */
export class SharedStatistics {
  readonly #host: LayerHost;
  readonly #hessian: HostTensor;
  /** The name at the host; undefined where they go with each layer. Not asked for before the first layer. */
  #name: string | undefined;
  #isAsked: boolean;

  constructor(host: LayerHost, { hessian, layers }: LayerGroup) {
    this.#host = host;
    this.#hessian = hessian;
    this.#isAsked = layers.length === 1;
  }

  /** Solves a layer of the group. @throws as `LayerHost.pruneLayer` */
  async prune(weight: HostTensor, query: LayerQuery, options: CallOptions): Promise<PrunedLayer> {
    if (!this.#isAsked) {
      this.#name = await this.#put(options);
      this.#isAsked = true;
    }
    if (this.#name === undefined) return await this.#pruneWith(weight, query, options);
    try {
      return await this.#pruneNamed(weight, { ...query, hessian: this.#name }, options);
    } catch (error) {
      if (!isOverBodyLimit(error)) throw error;
      // A job knows no statistics that a host keeps.
      return await this.#pruneWith(weight, query, options);
    }
  }

  /** Lets the host forget them. */
  async forget(options: CallOptions): Promise<void> {
    if (this.#name !== undefined) await this.#host.deleteHessian(this.#name, options);
  }

  #pruneWith(weight: HostTensor, query: LayerQuery, options: CallOptions): Promise<PrunedLayer> {
    return this.#host.pruneLayer({ weight, hessian_upper: this.#hessian }, query, options);
  }

  /** As the contract asks: statistics the host has evicted meanwhile are sent again, once. */
  async #pruneNamed(weight: HostTensor, query: LayerQuery, options: CallOptions): Promise<PrunedLayer> {
    try {
      return await this.#host.pruneLayer({ weight }, query, options);
    } catch (error) {
      if (!(error instanceof PareError && error.code === "hessian_not_found")) throw error;
      await this.#host.putHessian(this.#hessian, options);
      return await this.#host.pruneLayer({ weight }, query, options);
    }
  }

  /** Stores them; undefined where they are more than the host keeps. */
  async #put(options: CallOptions): Promise<string | undefined> {
    try {
      return await this.#host.putHessian(this.#hessian, options);
    } catch (error) {
      // What stands before an edge refuses large bodies in its own words.
      if (error instanceof PareError && (error.code === "too_large" || isOverBodyLimit(error))) {
        return undefined;
      }
      throw error;
    }
  }
}
