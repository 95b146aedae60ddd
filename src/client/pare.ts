/** The client of one Pare server, a host or an edge. It computes nothing on tensors. */

import type { LayerQuery } from "../protocol/layer_query.ts";
import { receivedReady } from "../protocol/received.ts";
import { searchParamsOf } from "../protocol/search_params.ts";
import { encode, encodeParts } from "../tensor/safetensors/encode.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { decodeAnswer, maxAnswerBytes } from "./answers/layer_answer.ts";
import { parseAnswer } from "./answers/parse_answer.ts";
import { type CallOptions, Transport, type TransportOptions } from "./transport.ts";
import { digestOfBytes } from "./digests.ts";
import { PareError } from "./errors.ts";
import { ModelPruner } from "./model_pruner.ts";
import type { SolveRound } from "../protocol/run/solve_round.ts";
import { HostPool } from "./host_pool.ts";
import { isOverEdgeBodyLimit, pruneLargeLayer } from "./jobs/prune_by_job.ts";
import type { LayerTensors, PrunedLayer } from "./layer_file.ts";
import { withFewTokens } from "./few_tokens.ts";
import { Runs } from "./runs.ts";
import type { StatisticsOptions } from "./shared_statistics.ts";

/** The device on which a host solves layers, named as in its reports. */
export interface HostDescription {
  /** `webgpu` or `cpu`. */
  readonly backend: string;
  /** The name of the adapter. */
  readonly adapter: string;
}

/** The most statistics that a client holds. The layers of older ones are accepted without a check of their errors. */
const MAX_STORED = 8;

/** A client of one Pare host or edge. */
export class Pare extends ModelPruner {
  readonly #options: TransportOptions;
  readonly #transport: Transport;
  /** The runs of whole models, at a host that accepts them. */
  readonly runs: Runs;
  /** Length in bytes of the shortest body that exceeded the body limit of an edge. */
  #smallestRejectedBytes = Infinity;
  /** The statistics that this client has stored at the host, by their digests, with which it checks answers. The oldest come first. */
  readonly #stored = new Map<string, HostTensor>();

  /** Makes a client. No request is sent yet. @throws {TypeError} if `baseUrl` is not an http or https URL */
  constructor(options: TransportOptions) {
    super();
    this.#options = options;
    this.#transport = new Transport(options);
    this.runs = new Runs(this.#transport);
  }

  /**
   * Prunes one layer. If the layer exceeds the body limit of an edge, its tensors are uploaded, and a job prunes it.
   * @throws {PareError} if the server refuses the layer, with the server's code and detail
   * @throws {ConnectionError} if the server cannot be reached
   * @throws {MalformedAnswerError} if the answer is malformed or is not the requested layer
   */
  async pruneLayer(
    tensors: LayerTensors,
    query: LayerQuery = {},
    options: CallOptions = {},
  ): Promise<PrunedLayer> {
    const body = encodeParts(Object.entries(tensors)),
      byteLength = body.reduce((sum, part) => sum + part.length, 0);
    // A job cannot use statistics that a host has stored. If the query names some, the caller has to send them instead.
    const canUseJob = query.hessian === undefined;
    if (canUseJob && byteLength >= this.#smallestRejectedBytes) {
      return await pruneLargeLayer(this.#options, tensors, query, options);
    }
    try {
      const answer = await this.#transport.send({
        method: "POST",
        path: "/v1/layers",
        query: searchParamsOf(query),
        body,
        maxAnswerBytes: maxAnswerBytes(query, tensors.weight),
        signal: options.signal,
      });
      const stored = this.#stored.get(query.hessian ?? "");
      return decodeAnswer(answer, {
        query,
        tensors: stored ? { ...tensors, hessian_upper: stored } : tensors,
      });
    } catch (error) {
      if (!isOverEdgeBodyLimit(error)) throw error;
      this.#smallestRejectedBytes = Math.min(byteLength, this.#smallestRejectedBytes);
      if (!canUseJob) throw error;
      return await pruneLargeLayer(this.#options, tensors, query, options);
    }
  }

  /**
   * Stores calibration statistics that several layers share, so that the host factors them once. The client holds the last
   * {@link MAX_STORED} statistics too, until they are deleted, to check the errors of the layers.
   * @param hessianUpper the upper triangle of the (n, n) Hessian, row by row: F32 [n(n+1)/2] for n input features
   * @returns the digest of the stored statistics. To use them for a layer, give this digest as `hessian` in its query
   * @throws {PareError} `too_large` if the host cannot store statistics of this size
   */
  async putHessian(
    hessianUpper: HostTensor,
    { validationHessianUpper, signal }: StatisticsOptions = {},
  ): Promise<string> {
    const validation = validationHessianUpper && { validation_hessian_upper: validationHessianUpper };
    const body = encode({ hessian_upper: hessianUpper, ...validation });
    const digest = await digestOfBytes(body);
    await this.#transport.send({
      method: "PUT",
      path: `/v1/hessians/${digest}`,
      body: [body],
      signal,
    });
    this.#stored.set(digest, hessianUpper);
    if (this.#stored.size > MAX_STORED) this.#stored.delete([...this.#stored.keys()][0]);
    return digest;
  }

  /** Deletes stored statistics. Statistics that do not exist cause no error. */
  async deleteHessian(digest: string, options: CallOptions = {}): Promise<void> {
    this.#stored.delete(digest);
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

  /** Solves the layers of one round. @throws as `pruneModel` */
  readonly solveRound: SolveRound = withFewTokens((...args) => new HostPool([this]).solveRound(...args));

  /**
   * Checks that the server accepts the API key for solving layers, without sending a layer.
   * @throws {PareError} `unauthorized` or `forbidden`
   * @throws {ConnectionError} if the server cannot be reached
   */
  async checkKey(options: CallOptions = {}): Promise<void> {
    try {
      // A server checks the key first, and then refuses a request that has no body.
      await this.#transport.send({ method: "POST", path: "/v1/layers", signal: options.signal });
    } catch (error) {
      if (!(error instanceof PareError) || error.status === 401 || error.status === 403) throw error;
    }
  }

  /** Asks the host for its device, repeatedly while the host starts. @throws {PareError} `no_device`, `device_lost` */
  async describeHost(options: CallOptions = {}): Promise<HostDescription> {
    const path = "/readyz";
    const answer = await this.#transport.send({ method: "GET", path, signal: options.signal });
    const { backend, adapter } = parseAnswer(receivedReady, answer, path, "the description of a host");
    return { backend, adapter: adapter.name };
  }
}
