/**
 * Durable jobs at an edge: layers whose tensors are stored as blobs, solved by its hosts at the same time. The job goes on
 * whether or not this client does: who has its id can follow it. Bringing the blobs is `uploads.ts`'s.
 */

import { type Job, jobSchema, type LayerState } from "../../protocol/jobs.ts";
import { sleep } from "../../async/abort.ts";
import type { CallOptions } from "../call_options.ts";
import { decodeAnswer, type PrunedLayer } from "../layer_file.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { Transport, type TransportOptions } from "../transport.ts";

/** One layer of a job. */
export interface JobLayerRequest {
  /** Unique in the job. */
  readonly name: string;
  /** `sha256:HEX` of a stored file with `weight`, and its statistics unless `hessian` names them. */
  readonly weight: string;
  /** `sha256:HEX` of a stored file with `hessian` or `hessian_upper`. Layers that share one are best given the same. */
  readonly hessian?: string;
  readonly parameters?: Omit<LayerQuery, "hessian">;
}

/** Options of a submission. */
export interface SubmitOptions extends CallOptions {
  /**
   * The same key and layers again are the same job. Unless given it is random, so that only the retries of this
   * call share it; give one that outlives the process to find the job again.
   */
  readonly idempotencyKey?: string;
}

/** Options of following a job. */
export interface FollowOptions extends CallOptions {
  /** Wait between questions, in milliseconds. */
  readonly pollMs?: number;
}

const DEFAULT_POLL_MS = 2000;

/** Jobs at one edge. */
export class Jobs {
  readonly #transport: Transport;

  constructor(options: TransportOptions) {
    this.#transport = new Transport(options);
  }

  /** Starts a job, and answers without waiting for it. @throws {PareError} as `Pare.pruneLayer`; `idempotency_conflict` */
  async submit(layers: readonly JobLayerRequest[], options: SubmitOptions = {}): Promise<Job> {
    const { idempotencyKey = crypto.randomUUID(), signal } = options;
    const answer = await this.#transport.send({
      method: "POST",
      path: "/v1/jobs",
      headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
      body: [new TextEncoder().encode(JSON.stringify({ layers }))],
      signal,
    });
    return parseJob(answer);
  }

  /** The job as it is now. @throws {PareError} `not_found` */
  async get(id: string, options: CallOptions = {}): Promise<Job> {
    return parseJob(
      await this.#transport.send({ method: "GET", path: `/v1/jobs/${id}`, signal: options.signal }),
    );
  }

  /** Ends a job: its unfinished layers fail with the code `cancelled`. */
  async cancel(id: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.send({ method: "DELETE", path: `/v1/jobs/${id}`, signal: options.signal });
  }

  /** Each layer of a job, once, as it is done or failed, until all are. A failed layer is told, not thrown. */
  async *follow(id: string, options: FollowOptions = {}): AsyncGenerator<LayerState, void, void> {
    const { pollMs = DEFAULT_POLL_MS, signal } = options, told = new Set<string>();
    for (;;) {
      const { layers, state } = await this.get(id, { signal });
      for (const layer of layers) {
        if ((layer.state !== "done" && layer.state !== "failed") || told.has(layer.name)) continue;
        told.add(layer.name);
        yield layer;
      }
      if (state === "done" || state === "failed") return;
      await sleep(pollMs, signal);
    }
  }

  /** The tensors and report of a layer that is done. @throws {TypeError} it is not; {PareError} `not_found` when it is no longer kept */
  async result({ name, state, result }: LayerState, options: CallOptions = {}): Promise<PrunedLayer> {
    if (result === null) throw new TypeError(`layer ${name}: has no result, it is ${state}`);
    return decodeAnswer(
      await this.#transport.send({ method: "GET", path: `/v1/blobs/${result}`, signal: options.signal }),
    );
  }
}

/** @throws {TypeError} when the answer is no job */
function parseJob(body: Uint8Array<ArrayBuffer>): Job {
  try {
    return jobSchema.parse(JSON.parse(new TextDecoder().decode(body)));
  } catch (cause) {
    throw new TypeError("answer of /v1/jobs: is no job", { cause });
  }
}
