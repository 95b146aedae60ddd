/** Prunes the blocks of a model by a durable job of an edge, which continues if this process ends. */

import { downloadBlob } from "../../client/jobs/download_blob.ts";
import { solveByJobs, type SolveByJobsOptions } from "../../client/jobs/solve_by_jobs.ts";
import { type JobModelRequest, Jobs } from "../../client/jobs/jobs.ts";
import { Uploads } from "../../client/jobs/uploads.ts";
import { BodyBlob, type BodyPart } from "../../client/request_body.ts";
import { Transport, type TransportOptions } from "../../client/transport.ts";
import type { LayerState } from "../../protocol/messages.ts";
import { checkSolved, decodeAnswer } from "../../client/blocks/check_block.ts";
import { encodeParts } from "../../tensor/safetensors/encode.ts";
import { countAnswerBytes } from "../../client/blocks/block_host.ts";
import type { SolvedBlock } from "../../protocol/blocks/solved_block.ts";
import { blockRequest, type SolvedRun } from "./block_request.ts";
import type { BlockServer, BlockSolver } from "./remote_blocks.ts";
import { statesOfRun } from "./window_states.ts";

export type BlockJobOptions = Pick<SolveByJobsOptions, "pollMs" | "stallMs" | "name" | "onRetried">;

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
    const uploads = new Uploads(this.edge), { signal } = this.run.options;
    const model = await this.#upload(uploads), results = new Map<string, string>();
    const take = async ({ name, result }: LayerState, isOld: boolean) => {
      if (results.has(name)) return [];
      // Another job prunes a block whose result was deleted again, and the blocks after it.
      if (isOld && !await uploads.hasBlob(result!, signal)) return undefined;
      const block = model.blocks.findIndex((other) => other.name === name);
      const isOpen = this.run.plan.isOpen(block);
      const solved = isOpen ? [{ block, solved: await this.#download(block, result!) }] : [];
      results.set(name, result!);
      return solved;
    };
    yield* solveByJobs(new Jobs(this.edge), {
      request: () =>
        results.size < model.blocks.length
          ? { ...model, blocks: model.blocks.map((block) => ({ ...block, result: results.get(block.name) })) }
          : undefined,
      take,
      isSequence: true,
    }, { ...this.options, signal });
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
