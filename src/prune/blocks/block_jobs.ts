/** Prunes the blocks of a model by a durable job of an edge, which continues if this process ends. */

import { digestOfBytes } from "../../client/digests.ts";
import { MalformedAnswerError } from "../../client/errors.ts";
import { downloadBlob } from "../../client/jobs/download_blob.ts";
import { followOrResubmit, type PollOptions } from "../../client/jobs/follow_or_resubmit.ts";
import { type JobModelRequest, Jobs } from "../../client/jobs/jobs.ts";
import { JobFailedError, type LayerFailure } from "../../client/jobs/prune_by_job.ts";
import { Uploads } from "../../client/jobs/uploads.ts";
import { Transport, type TransportOptions } from "../../client/transport.ts";
import { hasEnded } from "../../protocol/job_state.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { decodeBlock } from "./block_answer.ts";
import { bodyOf, countAnswerBytes } from "./block_host.ts";
import type { BlockRequests } from "./block_requests.ts";
import type { SolvedBlock } from "./prune_block.ts";
import type { BlockServer, BlockSolver, RemoteBlocksOptions } from "./remote_blocks.ts";

/** The number of jobs of one run that may fail transiently, or give a wrong result, before the failure is thrown. */
const MAX_FAILED_JOBS = 2;

/** The number of failed jobs of earlier processes that are passed over. An edge that invents more of them is not followed. */
const MAX_EARLIER_JOBS = 100;

export interface BlockJobOptions extends PollOptions {
  /** The name of the job, for people. */
  readonly name?: string;
  /** Called for each block that took several attempts, for example because a host was lost. */
  readonly onRetried?: (block: string, attempts: number) => void;
}

/** An edge that prunes the blocks of runs by jobs. The same run in another process continues to follow its job. */
export class BlockJobs implements BlockServer {
  readonly #edge: TransportOptions;
  readonly #options: BlockJobOptions;

  constructor(edge: TransportOptions, options: BlockJobOptions = {}) {
    this.#edge = edge;
    this.#options = options;
  }

  begin(requests: BlockRequests, config: RemoteBlocksOptions["config"]): BlockSolver {
    return new JobOfRun(this.#edge, this.#options, requests, config);
  }
}

interface AnsweredBlock {
  readonly block: number;
  readonly solved: SolvedBlock;
}

class JobOfRun implements BlockSolver {
  readonly #edge: TransportOptions;
  readonly #options: BlockJobOptions;
  readonly #requests: BlockRequests;
  readonly #config: RemoteBlocksOptions["config"];
  readonly #answers: AsyncGenerator<AnsweredBlock, void, void>;

  constructor(
    edge: TransportOptions,
    options: BlockJobOptions,
    requests: BlockRequests,
    config: RemoteBlocksOptions["config"],
  ) {
    this.#edge = edge;
    this.#options = options;
    this.#requests = requests;
    this.#config = config;
    this.#answers = this.#run();
  }

  /**
   * Waits for the answer for `block`. The blocks are requested in their order, without those that are stored already.
   * @throws {JobFailedError} if a block is refused, or if it fails transiently in several jobs
   * @throws {MalformedAnswerError} if the results of several jobs are not the requested block
   * @throws {PareError} {ConnectionError} if the edge refuses a request or cannot be reached
   */
  async solve(block: number): Promise<SolvedBlock> {
    const { value } = await this.#answers.next();
    if (value?.block !== block) throw new Error(`block ${block}: the job has answered ${value?.block}`);
    return value.solved;
  }

  async end(): Promise<void> {
    await this.#answers.return();
  }

  /** Yields the blocks that are open. After a failure, another job continues behind the blocks that are pruned. */
  async *#run(): AsyncGenerator<AnsweredBlock, void, void> {
    const jobs = new Jobs(this.#edge),
      { name, onRetried } = this.#options,
      { signal } = this.#requests.options;
    const model = await this.#upload(), results = new Map<string, string>();
    for (let submission = 0, failedJobs = 0;; submission++) {
      const blocks = model.blocks.map((block) => ({ ...block, result: results.get(block.name) }));
      const request = { ...model, blocks };
      const digest = await digestOfBytes(new TextEncoder().encode(JSON.stringify({ name, request })));
      const idempotencyKey = `${digest}/${submission}`;
      const job = await jobs.submit(request, { idempotencyKey, name, signal });
      // An earlier process submitted a job that has ended already, so the cause of its failure may be gone.
      const wasAlreadyEnded = hasEnded(job.state), failures: LayerFailure[] = [];
      let wrongAnswer: MalformedAnswerError | undefined;
      const submitted = { request, idempotencyKey, name };
      for await (const layer of followOrResubmit(jobs, job, submitted, { ...this.#options, signal })) {
        if (layer.error) failures.push({ name: layer.name, ...layer.error });
        if (layer.result === null || results.has(layer.name)) continue;
        if (layer.attempts > 1) onRetried?.(layer.name, layer.attempts);
        const block = blocks.findIndex(({ name }) => name === layer.name);
        if (this.#requests.plan.isOpen(block)) {
          try {
            yield { block, solved: await this.#download(block, layer.result) };
          } catch (error) {
            if (!(error instanceof MalformedAnswerError)) throw error;
            wrongAnswer = error;
            // The blocks after a wrong one are wrong too.
            await jobs.cancel(job.id, { signal });
            break;
          }
        }
        results.set(layer.name, layer.result);
      }
      if (!wrongAnswer && failures.length === 0) return;
      const error = wrongAnswer ?? new JobFailedError(job.id, failures);
      if (wasAlreadyEnded && submission < MAX_EARLIER_JOBS) continue;
      if (error instanceof JobFailedError && !error.isTransient || ++failedJobs > MAX_FAILED_JOBS) {
        throw error;
      }
    }
  }

  /** Uploads the states and the blocks that the edge lacks, with one block in memory at a time. */
  async #upload(): Promise<JobModelRequest> {
    const uploads = new Uploads(this.#edge), requests = this.#requests, { plan, model: { spec } } = requests;
    const upload = async (
      tensors: ReadonlyMap<string, HostTensor>,
      metadata: Readonly<Record<string, string>> = {},
    ) => await uploads.uploadBlob(new Blob(bodyOf(tensors, metadata)), { signal: requests.options.signal });
    const states = await upload(await requests.readStates(), {
      config: JSON.stringify(this.#config),
      names: JSON.stringify(requests.firstNames()),
    });
    const blocks: JobModelRequest["blocks"][number][] = [];
    for (let block = 0; block <= plan.lastBlock; block++) {
      const queries = requests.queries(block), { block: _, ...parameters } = requests.parameters(block);
      const isPruned = Object.keys(queries).length > 0;
      const weight = await upload(
        await requests.tensors(block).read(),
        isPruned ? { layers: JSON.stringify(queries) } : {},
      );
      blocks.push({ name: spec.block(block).prefix(block).replace(/\.$/, ""), weight, parameters });
    }
    return { states, target: requests.target, blocks };
  }

  async #download(block: number, digest: string): Promise<SolvedBlock> {
    const requests = this.#requests, { signal } = requests.options;
    const most = countAnswerBytes(requests.tensors(block).byteLength, requests.queries(block));
    const solved = decodeBlock(await downloadBlob(new Transport(this.#edge), digest, most, { signal }));
    requests.check(block, solved);
    return solved;
  }
}
