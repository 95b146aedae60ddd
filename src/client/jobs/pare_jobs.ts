/** Prunes models by jobs. The key of a job is computed from its layers, so a restarted client finds its job again. */

import { hasEnded } from "../../protocol/job_state.ts";
import type { LayerState } from "../../protocol/messages.ts";
import type { CallOptions, TransportOptions } from "../transport.ts";
import { digestOfBytes } from "../digests.ts";
import { ConnectionError, MalformedAnswerError, PareError } from "../errors.ts";
import { ModelPruner } from "../model_pruner.ts";
import type {
  LayerInputs,
  LayerQueryOf,
  RoundLayer,
  SolveRound,
  SourceLayer,
} from "../../protocol/run/solve_round.ts";
import { ownTensors, packedStatistics, type PrunedLayer } from "../layer_file.ts";
import { withFewTokens } from "../few_tokens.ts";
import { followOrResubmit, type PollOptions } from "./follow_or_resubmit.ts";
import { type JobLayerRequest, Jobs } from "./jobs.ts";
import {
  JobFailedError,
  type LayerFailure,
  type LayerToUpload,
  type SolvedJobLayer,
  uploadLayers,
} from "./prune_by_job.ts";
import { Uploads } from "./uploads.ts";

/** Number of jobs over the same layers that may fail transiently before the failure is thrown. */
const MAX_FAILED_JOBS = 2;

/** Returns the layer `name` as it is submitted. */
type RequestOf = (name: string) => LayerToUpload;

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

  /** Uploads all layers of a round and then solves them. */
  async *#solveRound(
    groups: AsyncGenerator<LayerInputs, void, undefined>,
    queryOf: LayerQueryOf,
    { signal }: CallOptions,
  ): AsyncGenerator<RoundLayer, void, void> {
    const requests: JobLayerRequest[] = [],
      sent = new Map<string, { readonly group: LayerInputs; readonly layer: SourceLayer }>();
    const requestOf: RequestOf = (name) => {
      const { group, layer } = sent.get(name)!;
      const { hessian: _, ...parameters } = queryOf(layer);
      return { name, tensors: { ...ownTensors(layer), ...packedStatistics(group) }, parameters };
    };
    for await (const group of groups) {
      for (const layer of group.layers) sent.set(nameInJob(layer), { group, layer });
      const layers = group.layers.map((layer) => requestOf(nameInJob(layer)));
      requests.push(...await uploadLayers(this.#uploads, layers, signal));
    }
    const [first] = sent.values();
    const jobName = this.#options.name && `${this.#options.name}, block ${first?.group.block}`;
    for await (const { name, mask: _, ...solved } of this.#solve(requests, jobName, requestOf, signal)) {
      yield { ...sent.get(name)!, ...solved };
    }
  }

  /** Yields each layer once, as soon as it is done. Failed layers and wrong results are submitted in another job. */
  async *#solve(
    requests: readonly JobLayerRequest[],
    name: string | undefined,
    requestOf: RequestOf,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<SolvedJobLayer, void, void> {
    const remaining = new Map(requests.map((request) => [request.name, request]));
    for (let submissionIndex = 0, failedJobs = 0; remaining.size > 0; submissionIndex++) {
      const layers = [...remaining.values()];
      const idempotencyKey = await idempotencyKeyOf({ name, layers }, submissionIndex);
      const submission = { request: layers, idempotencyKey, name };
      const options = { ...this.#options, wasUnreachable: () => this.#takeUnreachable(), signal };
      const job = await this.#jobs.submit(layers, { idempotencyKey, name, signal });
      // An earlier process submitted a job that has ended already, so the cause of its failures may be gone.
      const wasAlreadyEnded = hasEnded(job.state);
      const failures: LayerFailure[] = [];
      let wrongAnswer: MalformedAnswerError | undefined;
      for await (const layer of followOrResubmit(this.#jobs, job, submission, options)) {
        if (layer.error) {
          failures.push({ name: layer.name, ...layer.error });
          continue;
        }
        const pruned = await this.#resultOf(layer, requestOf, wasAlreadyEnded, signal);
        if (!pruned) continue;
        if (pruned instanceof MalformedAnswerError) {
          wrongAnswer = pruned;
          continue;
        }
        if (layer.attempts > 1) this.#options.onLayerRetried?.(layer.name, layer.attempts);
        remaining.delete(layer.name);
        yield { name: layer.name, ...pruned };
      }
      if (wrongAnswer && ++failedJobs > MAX_FAILED_JOBS) throw wrongAnswer;
      if (wasAlreadyEnded || failures.length === 0) continue;
      const error = new JobFailedError(job.id, failures);
      if (!error.isTransient || ++failedJobs > MAX_FAILED_JOBS) throw error;
    }
  }

  /** Returns whether a request failed to reach the edge since the last call. */
  #takeUnreachable(): boolean {
    const wasUnreachable = this.#wasUnreachable;
    this.#wasUnreachable = false;
    return wasUnreachable;
  }

  /** Downloads a result. Returns undefined if that of an old job is no longer stored, and the error if it is wrong. */
  async #resultOf(
    layer: LayerState,
    requestOf: RequestOf,
    wasAlreadyEnded: boolean,
    signal: AbortSignal | undefined,
  ): Promise<PrunedLayer | MalformedAnswerError | undefined> {
    try {
      return await this.#jobs.result(layer, { request: requestOf(layer.name), signal });
    } catch (error) {
      if (error instanceof MalformedAnswerError) {
        error.message = `${layer.name}: ${error.message}`;
        return error;
      }
      if (wasAlreadyEnded && error instanceof PareError && error.status === 404) return undefined;
      throw error;
    }
  }
}

/** Returns the name of a layer in its job, in which a layer that is solved twice needs two names. */
function nameInJob({ name, solution }: SourceLayer): string {
  return solution === "without" ? `${name} (without its target)` : name;
}

/** Computes the idempotency key of a job. `submissionIndex` counts the jobs with these layers from 0. */
async function idempotencyKeyOf(
  job: { readonly name?: string; readonly layers: readonly JobLayerRequest[] },
  submissionIndex: number,
): Promise<string> {
  const digest = await digestOfBytes(new TextEncoder().encode(JSON.stringify(job)));
  return `${digest}/${submissionIndex}`;
}
