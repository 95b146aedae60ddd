/** The statistics of one layer group at one host, which stores them until the group is solved. */

import type { LayerQuery } from "../protocol/layer_query.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { CallOptions } from "./transport.ts";
import { PareError } from "./errors.ts";
import { isOverEdgeBodyLimit } from "./jobs/prune_by_job.ts";
import {
  type LayerTensors,
  ownTensors,
  type PackedStatistics,
  packedStatistics,
  type PrunedLayer,
} from "./layer_file.ts";
import type { LayerInputs, SourceLayer } from "../protocol/run/solve_round.ts";

/**
 * Returns the largest number of bytes in the requests for a group, if each host stores the statistics.
 * @param matrices the number of matrices of statistics: 2 with validation statistics, else 1
 */
export function countRequestBytes(
  weightBytes: readonly number[],
  columns: number,
  hosts: number,
  matrices = 1,
): number {
  const copies = Math.min(hosts, weightBytes.length) * matrices;
  return weightBytes.reduce((sum, bytes) => sum + bytes, copies * packedUpperBytes(columns));
}

function packedUpperBytes(n: number): number {
  return 4 * n * (n + 1) / 2;
}

/** Options of `putHessian`. */
export interface StatisticsOptions extends CallOptions {
  /** The validation statistics of the same layers, in the same form. They decide between the results of a solve. */
  readonly validationHessianUpper?: HostTensor;
}

/** The methods of a host that solves layers. `Pare` implements them. */
export interface LayerHost {
  pruneLayer(tensors: LayerTensors, query: LayerQuery, options: CallOptions): Promise<PrunedLayer>;
  putHessian(hessianUpper: HostTensor, options: StatisticsOptions): Promise<string>;
  deleteHessian(digest: string, options: CallOptions): Promise<void>;
}

/** Solves layers of one group at one host, one after the other. */
export class SharedStatistics {
  readonly #host: LayerHost;
  readonly #statistics: PackedStatistics;
  /** Whether the next request must store the statistics at the host first. */
  #isUploadPending: boolean;
  /** The digest of the stored statistics. Undefined if each request carries the statistics itself. */
  #digest: string | undefined;

  constructor(host: LayerHost, group: LayerInputs) {
    this.#host = host;
    this.#statistics = packedStatistics(group);
    this.#isUploadPending = group.layers.length > 1;
  }

  /** Prunes a layer of the group. @throws as `LayerHost.pruneLayer` */
  async prune(layer: SourceLayer, query: LayerQuery, options: CallOptions): Promise<PrunedLayer> {
    if (this.#isUploadPending) {
      this.#digest = await this.#tryStore(options);
      this.#isUploadPending = false;
    }
    if (this.#digest !== undefined) {
      try {
        return await this.#pruneWithStored(layer, { ...query, hessian: this.#digest }, options);
      } catch (error) {
        if (!isOverEdgeBodyLimit(error)) throw error;
        // The layer exceeds the body limit of an edge even without statistics, so `LayerHost.pruneLayer` will
        // solve it by a job. A job cannot use statistics that a host has stored.
      }
    }
    return await this.#host.pruneLayer({ ...ownTensors(layer), ...this.#statistics }, query, options);
  }

  /** Deletes the stored statistics at the host. */
  async delete(options: CallOptions): Promise<void> {
    if (this.#digest !== undefined) await this.#host.deleteHessian(this.#digest, options);
  }

  /** If the host has evicted the statistics, stores them again and repeats the request once. */
  async #pruneWithStored(
    layer: SourceLayer,
    query: LayerQuery,
    options: CallOptions,
  ): Promise<PrunedLayer> {
    try {
      return await this.#host.pruneLayer(ownTensors(layer), query, options);
    } catch (error) {
      if (!(error instanceof PareError && error.code === "hessian_not_found")) throw error;
      await this.#store(options);
      return await this.#host.pruneLayer(ownTensors(layer), query, options);
    }
  }

  async #store(options: CallOptions): Promise<string | undefined> {
    const { hessian_upper, validation_hessian_upper: validationHessianUpper } = this.#statistics;
    return hessian_upper &&
      await this.#host.putHessian(hessian_upper, { ...options, validationHessianUpper });
  }

  /** Stores the statistics and returns their digest. Undefined if there are none, or if they are too large. */
  async #tryStore(options: CallOptions): Promise<string | undefined> {
    try {
      return await this.#store(options);
    } catch (error) {
      if (error instanceof PareError && (error.code === "too_large" || isOverEdgeBodyLimit(error))) {
        return undefined;
      }
      throw error;
    }
  }
}
