/**
 * The SDK over an edge's jobs: the layers of each calibration round are one durable job, which the edge spreads over its hosts. The
 * key of a job follows from its layers, so that a client that was killed finds what it had begun.
 */

import { formatDigest, sha256 } from "../../protocol/digest.ts";
import type { LayerState } from "../../protocol/jobs.ts";
import type { CallOptions } from "../call_options.ts";
import { ConnectionError, PareError } from "../errors.ts";
import type { PruneEvent } from "../events.ts";
import { followJob, type JobPatience } from "./followed_job.ts";
import { bringLayers, JobFailedError } from "./job_layers.ts";
import { type JobLayerRequest, Jobs } from "./jobs.ts";
import type { PrunedLayer } from "../layer_file.ts";
import type { LayerGroup, ModelSource } from "../model_source.ts";
import { type ModelPruner, type ModelQuery, pruneRounds, type QueryOf, type SolvedLayer } from "../rounds.ts";
import type { TransportOptions } from "../transport.ts";
import { Uploads } from "./uploads.ts";

/** Why a layer of a job may succeed in another: no host, a host that failed, a job that somebody ended. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set(["no_device", "device_lost", "busy", "cancelled"]);

/** How to follow jobs, and who hears of it. */
export interface PareJobsOptions extends JobPatience {
  /** Told of each layer that was done at the second or a later attempt. */
  readonly onRetried?: (name: string, attempts: number) => void;
}

/** Jobs that may fail, one after the other, over the same layers. */
const MAX_FAILURES = 2;

/** A client of an edge that runs jobs. */
export class PareJobs implements ModelPruner {
  readonly #uploads: Uploads;
  readonly #jobs: Jobs;
  readonly #options: PareJobsOptions;
  #wasUnreachable = false;

  constructor(edge: TransportOptions, options: PareJobsOptions = {}) {
    this.#uploads = new Uploads(edge);
    this.#jobs = new Jobs({
      ...edge,
      onRetry: (error, waitMs) => {
        this.#wasUnreachable ||= error instanceof ConnectionError;
        edge.onRetry?.(error, waitMs);
      },
    });
    this.#options = options;
  }

  /**
   * As `Pare.pruneModel`, a round's statistics held at once at most.
   * @throws {JobFailedError} a layer is refused, or fails again and again
   */
  pruneModel(
    source: ModelSource,
    query: ModelQuery = {},
    options: CallOptions = {},
  ): AsyncGenerator<PruneEvent, void, void> {
    return pruneRounds(source, query, (...round) => this.#solveRound(...round), options);
  }

  async *#solveRound(
    groups: AsyncGenerator<LayerGroup, void, undefined>,
    queryOf: QueryOf,
    { signal }: CallOptions,
  ): AsyncGenerator<SolvedLayer, void, void> {
    const requests: JobLayerRequest[] = [], groupOf = new Map<string, LayerGroup>();
    for await (const group of groups) {
      const layers = group.layers.map(({ name, weight }) => {
        const { hessian: _, ...parameters } = queryOf(name);
        return { name, tensors: { weight, hessian_upper: group.hessian }, parameters };
      });
      requests.push(...await bringLayers(this.#uploads, layers, signal));
      for (const { name } of layers) groupOf.set(name, group);
    }
    for await (const { name, weight, report } of this.#solve(requests, signal)) {
      yield { group: groupOf.get(name)!, name, weight, report };
    }
  }

  /** Each of the layers, as it is done; in further jobs where one fails of what may pass. */
  async *#solve(
    requests: readonly JobLayerRequest[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<PrunedLayer & { name: string }, void, void> {
    const left = new Map(requests.map((request) => [request.name, request]));
    for (let count = 0, failures = 0; left.size > 0; count++) {
      const layers = [...left.values()], idempotencyKey = await keyOf(layers, count);
      const job = await this.#jobs.submit(layers, { idempotencyKey, signal });
      // One found at its end is of another day: what failed it then need not now.
      const isOld = job.state === "failed" || job.state === "done";
      const failed: { name: string; code: string; detail: string }[] = [];
      const followed = followJob(this.#jobs, job, { layers, idempotencyKey }, {
        ...this.#options,
        wasUnreachable: () => {
          const was = this.#wasUnreachable;
          this.#wasUnreachable = false;
          return was;
        },
        signal,
      });
      for await (const layer of followed) {
        const pruned = layer.error ? undefined : await this.#resultOf(layer, isOld, signal);
        if (layer.error) failed.push({ name: layer.name, ...layer.error });
        if (!pruned) continue;
        if (layer.attempts > 1) this.#options.onRetried?.(layer.name, layer.attempts);
        left.delete(layer.name);
        yield { name: layer.name, ...pruned };
      }
      if (isOld || failed.length === 0) continue;
      const isTransient = failed.every(({ code }) => TRANSIENT_CODES.has(code));
      if (!isTransient || ++failures > MAX_FAILURES) throw new JobFailedError(job.id, failed);
    }
  }

  /** What a done layer became; undefined where an old job's is no longer kept. */
  async #resultOf(
    layer: LayerState,
    isOld: boolean,
    signal: AbortSignal | undefined,
  ): Promise<PrunedLayer | undefined> {
    try {
      return await this.#jobs.result(layer, { signal });
    } catch (error) {
      if (isOld && error instanceof PareError && error.status === 404) return undefined;
      throw error;
    }
  }
}

/** The key of the `count`th job over these layers. */
async function keyOf(layers: readonly JobLayerRequest[], count: number): Promise<string> {
  const digest = await sha256(new TextEncoder().encode(JSON.stringify(layers)));
  return `${formatDigest(digest)}/${count}`;
}
