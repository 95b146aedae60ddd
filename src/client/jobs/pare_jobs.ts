/** Prunes models by jobs. The key of a job is computed from its layers, so a restarted client finds its job again. */

import type { LayerState } from "../../protocol/messages.ts";
import type { CallOptions, TransportOptions } from "../transport.ts";
import { ConnectionError, MalformedAnswerError, PareError } from "../errors.ts";
import { ModelPruner } from "../model_pruner.ts";
import type {
  LayerInputs,
  LayerQueryOf,
  RoundLayer,
  SolveRound,
  SourceLayer,
} from "../../protocol/run/solve_round.ts";
import { ownTensors, packedStatistics } from "../layer_file.ts";
import { withFewTokens } from "../few_tokens.ts";
import { type JobLayerRequest, Jobs } from "./jobs.ts";
import { type LayerToUpload, uploadLayers } from "./prune_by_job.ts";
import { type PollOptions, solveByJobs } from "./solve_by_jobs.ts";
import { Uploads } from "./uploads.ts";

/** Options of {@link PareJobs}. */
export interface PareJobsOptions extends PollOptions {
  /** Called for each layer that the edge solved only at the second or a later attempt. */
  readonly onLayerRetried?: (name: string, attempts: number) => void;
  /** The name of the model. The jobs are then called `NAME, block N`, so that people recognise them in a list. */
  readonly name?: string;
}

/** A client of an edge that runs jobs. */
export class PareJobs extends ModelPruner {
  readonly #uploads: Uploads;
  readonly #jobs: Jobs;
  readonly #options: PareJobsOptions;
  /** Whether a request failed to reach the edge since {@link PareJobs.#takeUnreachable} was called last. */
  #wasUnreachable = false;

  /** Makes a client. No request is sent yet. @throws {TypeError} if `baseUrl` is not an http or https URL */
  constructor(edge: TransportOptions, options: PareJobsOptions = {}) {
    super();
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

  /** Solves the layers of one round. @throws as `pruneModel` */
  readonly solveRound: SolveRound = withFewTokens((...args) => this.#solveRound(...args));

  /** Uploads all layers of a round and then solves them. Failed layers and wrong results are submitted in another job. */
  async *#solveRound(
    groups: AsyncGenerator<LayerInputs, void, undefined>,
    queryOf: LayerQueryOf,
    { signal }: CallOptions,
  ): AsyncGenerator<RoundLayer, void, void> {
    const remaining = new Map<string, JobLayerRequest>();
    const sent = new Map<string, { readonly group: LayerInputs; readonly layer: SourceLayer }>();
    const requestOf = (name: string): LayerToUpload => {
      const { group, layer } = sent.get(name)!;
      const { hessian: _, ...parameters } = queryOf(layer);
      return { name, tensors: { ...ownTensors(layer), ...packedStatistics(group) }, parameters };
    };
    for await (const group of groups) {
      for (const layer of group.layers) sent.set(nameInJob(layer), { group, layer });
      const layers = group.layers.map((layer) => requestOf(nameInJob(layer)));
      for (const request of await uploadLayers(this.#uploads, layers, signal)) {
        remaining.set(request.name, request);
      }
    }
    const take = async (state: LayerState, isOld: boolean) => {
      const { name } = state;
      try {
        const { mask: _, ...pruned } = await this.#jobs.result(state, { request: requestOf(name), signal });
        remaining.delete(name);
        return [{ ...sent.get(name)!, ...pruned }];
      } catch (error) {
        if (isOld && error instanceof PareError && error.status === 404) return undefined;
        if (error instanceof MalformedAnswerError) error.message = `${name}: ${error.message}`;
        throw error;
      }
    };
    const [first] = sent.values(), { name, onLayerRetried: onRetried } = this.#options;
    yield* solveByJobs(this.#jobs, {
      request: () => remaining.size > 0 ? [...remaining.values()] : undefined,
      take,
    }, {
      ...this.#options,
      name: name && `${name}, block ${first?.group.block}`,
      onRetried,
      wasUnreachable: () => this.#takeUnreachable(),
      signal,
    });
  }

  /** Returns whether a request failed to reach the edge since the last call. */
  #takeUnreachable(): boolean {
    const wasUnreachable = this.#wasUnreachable;
    this.#wasUnreachable = false;
    return wasUnreachable;
  }
}

/** Returns the name of a layer in its job, in which a layer that is solved twice needs two names. */
function nameInJob({ name, solution }: SourceLayer): string {
  return solution === "without" ? `${name} (without its target)` : name;
}
