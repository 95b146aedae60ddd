/** The statistics of one layer group at one host. If several layers share a Hessian, the host stores it until the group is solved. */

import type { LayerQuery } from "../protocol/layer_query.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { CallOptions } from "./transport.ts";
import { PareError } from "./errors.ts";
import { isOverEdgeBodyLimit } from "./jobs/prune_by_job.ts";
import type { LayerTensors, PrunedLayer } from "./layer_file.ts";
import type { LayerGroup } from "./model_source.ts";

/** Counts the bytes that the requests for the layers of a group send at most, without headers. Each host stores shared statistics. */
export function countRequestBytes(weightBytes: readonly number[], columns: number, hosts: number): number {
  const copies = Math.min(hosts, weightBytes.length);
  return weightBytes.reduce((sum, bytes) => sum + bytes, copies * packedUpperBytes(columns));
}

function packedUpperBytes(n: number): number {
  return 4 * n * (n + 1) / 2;
}

/** The methods of a host that solves layers. `Pare` implements them. */
export interface LayerHost {
  pruneLayer(tensors: LayerTensors, query: LayerQuery, options: CallOptions): Promise<PrunedLayer>;
  putHessian(hessianUpper: HostTensor, options: CallOptions): Promise<string>;
  deleteHessian(digest: string, options: CallOptions): Promise<void>;
}

/** Solves layers of one group at one host, one after the other. */
export class SharedStatistics {
  readonly #host: LayerHost;
  readonly #hessian: HostTensor | undefined;
  /** Whether the statistics are still to be stored at the host. */
  #isUploadPending: boolean;
  /** The digest of the stored statistics. Undefined if each request carries the statistics itself. */
  #digest: string | undefined;

  constructor(host: LayerHost, { hessian, layers }: LayerGroup) {
    this.#host = host;
    this.#hessian = hessian;
    this.#isUploadPending = layers.length > 1;
  }

  /** Prunes a layer of the group. @throws as `LayerHost.pruneLayer` */
  async prune(weight: HostTensor, query: LayerQuery, options: CallOptions): Promise<PrunedLayer> {
    if (this.#isUploadPending) {
      this.#digest = this.#hessian && await this.#tryStore(this.#hessian, options);
      this.#isUploadPending = false;
    }
    if (this.#hessian === undefined || this.#digest === undefined) {
      return await this.#pruneWithTensor(weight, query, options);
    }
    try {
      const storedQuery = { ...query, hessian: this.#digest };
      return await this.#pruneWithStored(weight, this.#hessian, storedQuery, options);
    } catch (error) {
      if (!isOverEdgeBodyLimit(error)) throw error;
      // The layer exceeds the body limit of an edge even without statistics, so `LayerHost.pruneLayer` will
      // solve it by a job. A job cannot use statistics that a host has stored.
      return await this.#pruneWithTensor(weight, query, options);
    }
  }

  /** Deletes the stored statistics at the host. */
  async delete(options: CallOptions): Promise<void> {
    if (this.#digest !== undefined) await this.#host.deleteHessian(this.#digest, options);
  }

  #pruneWithTensor(weight: HostTensor, query: LayerQuery, options: CallOptions): Promise<PrunedLayer> {
    return this.#host.pruneLayer({ weight, hessian_upper: this.#hessian }, query, options);
  }

  /** If the host has evicted the statistics, stores them again and repeats the request once. */
  async #pruneWithStored(
    weight: HostTensor,
    hessian: HostTensor,
    query: LayerQuery,
    options: CallOptions,
  ): Promise<PrunedLayer> {
    try {
      return await this.#host.pruneLayer({ weight }, query, options);
    } catch (error) {
      if (!(error instanceof PareError && error.code === "hessian_not_found")) throw error;
      await this.#host.putHessian(hessian, options);
      return await this.#host.pruneLayer({ weight }, query, options);
    }
  }

  /** Stores the statistics and returns their digest. Returns undefined if they are too large to be stored. */
  async #tryStore(hessian: HostTensor, options: CallOptions): Promise<string | undefined> {
    try {
      return await this.#host.putHessian(hessian, options);
    } catch (error) {
      if (error instanceof PareError && (error.code === "too_large" || isOverEdgeBodyLimit(error))) {
        return undefined;
      }
      throw error;
    }
  }
}
