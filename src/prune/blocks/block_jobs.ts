/** Prunes the blocks of a model by a durable job of an edge, which continues if this process ends. */

import { digestOfBytes } from "../../client/digests.ts";
import { MalformedAnswerError } from "../../client/errors.ts";
import { downloadBlob } from "../../client/jobs/download_blob.ts";
import { followOrResubmit, type PollOptions } from "../../client/jobs/follow_or_resubmit.ts";
import { type JobModelRequest, Jobs } from "../../client/jobs/jobs.ts";
import { JobFailedError, type LayerFailure } from "../../client/jobs/prune_by_job.ts";
import { Uploads } from "../../client/jobs/uploads.ts";
import { BodyBlob, type BodyPart } from "../../client/request_body.ts";
import { Transport, type TransportOptions } from "../../client/transport.ts";
import { hasEnded } from "../../protocol/job_state.ts";
import { checkSolved, decodeAnswer } from "../../client/blocks/check_block.ts";
import { encodeParts } from "../../tensor/safetensors/encode.ts";
import { countAnswerBytes } from "../../client/blocks/block_host.ts";
import type { SolvedBlock } from "../../protocol/blocks/solved_block.ts";
import { blockRequest, type SolvedRun } from "./block_request.ts";
import type { BlockServer, BlockSolver } from "./remote_blocks.ts";
import { statesOfRun } from "./window_states.ts";

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
  constructor(private readonly edge: TransportOptions, private readonly options: BlockJobOptions = {}) {}

  begin(run: SolvedRun): BlockSolver {
    return new JobOfRun(this.edge, this.options, run);
  }
}

interface AnsweredBlock {
  readonly block: number;
  readonly solved: SolvedBlock;
}

class JobOfRun implements BlockSolver {
  readonly #answers = this.#follow();

  constructor(
    private readonly edge: TransportOptions,
    private readonly options: BlockJobOptions,
    private readonly run: SolvedRun,
  ) {}

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
  async *#follow(): AsyncGenerator<AnsweredBlock, void, void> {
    const jobs = new Jobs(this.edge),
      uploads = new Uploads(this.edge),
      { name, onRetried } = this.options,
      { signal } = this.run.options;
    const model = await this.#upload(uploads), results = new Map<string, string>();
    for (let submission = 0, failedJobs = 0;; submission++) {
      const blocks = model.blocks.map((block) => ({ ...block, result: results.get(block.name) }));
      const request = { ...model, blocks };
      const digest = await digestOfBytes(new TextEncoder().encode(JSON.stringify({ name, request })));
      const idempotencyKey = `${digest}/${submission}`;
      const job = await jobs.submit(request, { idempotencyKey, name, signal });
      // An earlier process submitted a job that has ended already, so the cause of its failure may be gone.
      const wasAlreadyEnded = hasEnded(job.state), failures: LayerFailure[] = [];
      let wrongAnswer: MalformedAnswerError | undefined, isDeleted = false;
      const submitted = { request, idempotencyKey, name };
      for await (const layer of followOrResubmit(jobs, job, submitted, { ...this.options, signal })) {
        if (layer.error) failures.push({ name: layer.name, ...layer.error });
        if (layer.result === null || results.has(layer.name)) continue;
        // The edge may have deleted the result of an earlier job. Another job prunes this block and those after it again.
        isDeleted = wasAlreadyEnded && !await uploads.hasBlob(layer.result, signal);
        if (isDeleted) break;
        if (layer.attempts > 1) onRetried?.(layer.name, layer.attempts);
        const block = blocks.findIndex(({ name }) => name === layer.name);
        if (this.run.plan.isOpen(block)) {
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
      if (!wrongAnswer && !isDeleted && failures.length === 0) return;
      const error = wrongAnswer ?? new JobFailedError(job.id, failures);
      if (wasAlreadyEnded && submission < MAX_EARLIER_JOBS) continue;
      if (error instanceof JobFailedError && !error.isTransient || ++failedJobs > MAX_FAILED_JOBS) {
        throw error;
      }
    }
  }

  /** Uploads the states and the blocks that the edge lacks, with one block in memory at a time. */
  async #upload(uploads: Uploads): Promise<JobModelRequest> {
    const { plan, model: { spec }, config, options } = this.run;
    const upload = async (body: readonly BodyPart[]) =>
      await uploads.uploadBlob(await new BodyBlob(body).copy(), { signal: options.signal });
    const { names, target, tensors } = statesOfRun(this.run, options);
    const metadata = { config: JSON.stringify(config), names: JSON.stringify(names) };
    const states = await upload(encodeParts(tensors, metadata));
    const blocks: JobModelRequest["blocks"][number][] = [];
    for (let block = 0; block <= plan.lastBlock; block++) {
      const { parameters: { block: _, ...parameters }, tensors, queries } = blockRequest(this.run, block);
      const isPruned = Object.keys(queries).length > 0;
      const weight = await upload(encodeParts(tensors, isPruned ? { layers: JSON.stringify(queries) } : {}));
      blocks.push({ name: spec.block(block).prefix(block).replace(/\.$/, ""), weight, parameters });
    }
    return { states, target, blocks };
  }

  async #download(block: number, digest: string): Promise<SolvedBlock> {
    const request = blockRequest(this.run, block), { signal } = this.run.options;
    const most = countAnswerBytes(request.tensors, request.queries);
    const solved = decodeAnswer(await downloadBlob(new Transport(this.edge), digest, most, { signal }));
    await checkSolved(solved, request);
    return solved;
  }
}
