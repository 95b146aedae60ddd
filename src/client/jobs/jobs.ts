/** The jobs of an edge. A job names the tensors of its layers by their digests, and continues if this client ends. */

import * as z from "zod/mini";
import { list } from "../../base/list.ts";
import { growingDelays } from "../../base/waiting.ts";
import type { EdgeHost, Job, JobList, LayerState, Report } from "../../protocol/messages.ts";
import { receivedEdgeHost, receivedJob, receivedJobList } from "../../protocol/received.ts";
import type { JobState } from "../../protocol/job_state.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { searchParamsOf } from "../../protocol/search_params.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { decodeAnswer, maxAnswerBytes } from "../answers/layer_answer.ts";
import { parseAnswer } from "../answers/parse_answer.ts";
import { type CallOptions, Transport, type TransportOptions } from "../transport.ts";
import { MalformedAnswerError, PareError } from "../errors.ts";
import type { LayerTensors, PrunedLayer } from "../layer_file.ts";
import { downloadBlob } from "./download_blob.ts";
import { DEFAULT_POLL_MS, followJob, requireLayers } from "./follow_job.ts";

/** One layer of a job to submit. */
export interface JobLayerRequest {
  /** Name of the layer, unique in the job. */
  readonly name: string;
  /** The digest `sha256:HEX` of a blob with the tensor `weight`, and with the statistics unless `hessian` is given. */
  readonly weight: string;
  /**
   * The digest of a blob with the tensor `hessian` or `hessian_upper`, and the validation statistics if there are some.
   * Layers that name the same blob share one factorisation.
   */
  readonly hessian?: string;
  /** The parameters of the layer. The server fills in defaults for those that are absent. */
  readonly parameters?: Omit<LayerQuery, "hessian">;
}

/** A model whose blocks a job prunes, one after the other. */
export interface JobModelRequest {
  /** The digest of a blob with a body of `PUT /v1/states/{name}`. */
  readonly states: string;
  /** Whether the layers get targets, for which the host also stores the hidden states of the dense model. */
  readonly target: "none" | "dense";
  /** The blocks from the first one on. */
  readonly blocks: readonly JobBlockRequest[];
}

/** One block of a model to prune. */
export interface JobBlockRequest {
  /** Name of the block, unique in the job. */
  readonly name: string;
  /** The digest of a blob with a body of `POST /v1/blocks/prune`. */
  readonly weight: string;
  /** The parameters of `POST /v1/blocks/prune` except `states` and `block`. */
  readonly parameters?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** The result of the block in an earlier job. The block is then not pruned again. */
  readonly result?: string;
}

/** Options of submitting a job. */
export interface SubmitOptions extends CallOptions {
  /** The key of the job. The same layers with the same key are the same job. @default a random key for each call */
  readonly idempotencyKey?: string;
  /** A name for people, which need not be unique. A repeated submission must give the same name. */
  readonly name?: string;
}

/** Options of listing jobs. */
export interface ListOptions extends CallOptions {
  /** Lists only the jobs in this state. */
  readonly state?: JobState;
  /** The largest number of jobs in the answer, from 1 to 100. @default 20 */
  readonly limit?: number;
  /** The cursor of an earlier answer, to continue after it. */
  readonly cursor?: string;
}

/** Options of following a job. */
export interface FollowOptions extends CallOptions {
  /** Pause between two requests for the job, in milliseconds. @default 2000 */
  readonly pollMs?: number;
}

/** Options of downloading a result. */
export interface ResultOptions extends CallOptions {
  /** The submitted layer, with which the result is compared. By default, the edge's size and parameters are trusted. */
  readonly request?: { readonly tensors: LayerTensors; readonly parameters?: Omit<LayerQuery, "hessian"> };
}

/** The jobs at one edge. */
export class Jobs {
  readonly #transport: Transport;
  readonly #onJob: TransportOptions["onJob"];

  /** Makes a client. No request is sent yet. @throws {TypeError} if `baseUrl` is not an http or https URL */
  constructor(options: TransportOptions) {
    this.#transport = new Transport(options);
    this.#onJob = options.onJob;
  }

  /**
   * Submits a job of layers or of a model, and returns the job without waiting for its end.
   * @throws {MalformedAnswerError} if the edge answers with other layers or blocks than the submitted ones
   * @throws {PareError} if the edge refuses the job. The code is `idempotency_conflict` if another job has the key
   */
  async submit(
    request: readonly JobLayerRequest[] | JobModelRequest,
    options: SubmitOptions = {},
  ): Promise<Job> {
    const { idempotencyKey = randomKey(), name, signal } = options;
    const isModel = "blocks" in request, items = isModel ? request.blocks : request;
    const answer = await this.#transport.send({
      method: "POST",
      path: "/v1/jobs",
      headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
      body: [
        new TextEncoder().encode(
          JSON.stringify(isModel ? { name, model: request } : { name, layers: request }),
        ),
      ],
      signal,
    });
    const job = parseJob(answer);
    requireLayers(job, items);
    this.#onJob?.(job.id, items.length);
    return job;
  }

  /** Returns a page of the jobs of the API key, the newest first. `cursor` is null on the last page. */
  async list({ state, limit, cursor, signal }: ListOptions = {}): Promise<JobList> {
    const query = searchParamsOf({ state, limit, cursor });
    const answer = await this.#transport.send({ method: "GET", path: "/v1/jobs", query, signal });
    return parseAnswer(receivedJobList, answer, "/v1/jobs", "a list of jobs");
  }

  /** Returns the current state of a job. @throws {PareError} `not_found` if there is no such job */
  async get(id: string, options: CallOptions = {}): Promise<Job> {
    return parseJob(
      await this.#transport.send({ method: "GET", path: `/v1/jobs/${id}`, signal: options.signal }),
    );
  }

  /** Cancels a job. Layers that are still queued or running get the state and the error code `cancelled`. */
  async cancel(id: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.send({ method: "DELETE", path: `/v1/jobs/${id}`, signal: options.signal });
  }

  /** Yields each layer once, as soon as its state is final. Ends when the job has ended. A failed layer does not throw. */
  async *follow(id: string, options: FollowOptions = {}): AsyncGenerator<LayerState, void, void> {
    const { pollMs = DEFAULT_POLL_MS, signal } = options;
    const nextJob = () => this.get(id, { signal });
    yield* followJob(await nextJob(), { nextJob, delays: growingDelays(pollMs, pollMs), signal });
  }

  /**
   * Downloads the tensors and the report of a layer that is done. Bytes with another digest are downloaded again.
   * @throws {TypeError} if the layer is not done, or is a block
   * @throws {MalformedAnswerError} if the second download has another digest too, or if `Pare.pruneLayer` would throw it
   * @throws {PareError} `not_found` if the edge no longer stores the result
   */
  async result(layer: LayerState, { request, ...options }: ResultOptions = {}): Promise<PrunedLayer> {
    const { name, state, result, report } = layer;
    if (result === null) throw new TypeError(`layer ${name}: has no result, because its state is ${state}`);
    if (report === null) throw new TypeError(`${name}: is not a layer, but a block of a model`);
    const query = request ? request.parameters ?? {} : layer.parameters as LayerQuery;
    const maxBytes = maxAnswerBytes(query, request?.tensors.weight ?? largestWeight(report));
    const bytes = await downloadBlob(this.#transport, result, maxBytes, options);
    return decodeAnswer(bytes, { query, tensors: request?.tensors });
  }
}

/** Returns the shape of the layer in `report`, with the widest dtype. */
function largestWeight({ rows, cols }: Report): Pick<HostTensor, "dtype" | "shape"> {
  return { dtype: "F32", shape: [rows, cols] };
}

/** Returns 32 random hexadecimal digits. A page over plain HTTP from another machine has no `crypto.randomUUID`. */
export function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function parseJob(body: Uint8Array<ArrayBuffer>): Job {
  const job = parseAnswer(receivedJob, body, "/v1/jobs", "a job");
  if (job.layers.every((layer) => hasItsOutcome(layer, job.model !== undefined))) return job;
  throw new MalformedAnswerError("answer of /v1/jobs: is not a job");
}

/**
 * Whether a layer has a result if it is done, and an error exactly if it has failed or was cancelled. A block of a model
 * has no report.
 */
function hasItsOutcome({ state, report, result, error }: LayerState, isBlock: boolean): boolean {
  if (state === "done") return (report === null) === isBlock && result !== null && error === null;
  const isSettled = state === "failed" || state === "cancelled";
  return (error !== null) === isSettled;
}

/**
 * Lists the hosts that are alive at an edge. Returns undefined if the server refuses to list hosts: if it is a host or
 * an edge without a registry, or if the API key lacks the scope `metrics`.
 * @throws {PareError} {ConnectionError} {TypeError} if the last attempt fails, or if the answer is malformed
 */
export async function listEdgeHosts(
  edge: TransportOptions,
  { signal }: CallOptions = {},
): Promise<EdgeHost[] | undefined> {
  const path = "/v1/hosts";
  let answer: Uint8Array<ArrayBuffer>;
  try {
    answer = await new Transport(edge).send({ method: "GET", path, signal });
  } catch (error) {
    if (error instanceof PareError && !error.isTransient && error.status < 500) return undefined;
    throw error;
  }
  return parseAnswer(z.object({ hosts: list(receivedEdgeHost) }), answer, path, "a list of hosts").hosts;
}
