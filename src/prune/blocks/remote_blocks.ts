/**
 * Prunes a model whose blocks a host calibrates and solves (`POST /v1/blocks/prune`), or a job of an edge. This process reads the
 * blocks, sends them, and hands the answers to the destination. A host computes what this process would compute on the
 * same device, so the result has the same bytes.
 */

import { BlockHost } from "../../client/blocks/block_host.ts";
import type { ReconstructedBlock, SolvedBlock } from "../../protocol/blocks/solved_block.ts";
import { ConnectionError, MalformedAnswerError, PareError } from "../../client/errors.ts";
import type { RoundLayer } from "../../protocol/run/solve_round.ts";
import { freeArray } from "../../device/host_memory.ts";
import { BlockPlan } from "../block_plan.ts";
import type { CalibratedGroup, CollectedRound, OpenBlock } from "../open_block.ts";
import type { BlockStates, CalibrationRun, RoundSolver } from "../steps.ts";
import { blockRequest, type SolvedRun } from "./block_request.ts";
import { openBlocks } from "./divided_states.ts";
import { WindowStates } from "./window_states.ts";

export interface RemoteBlocksOptions extends Pick<SolvedRun, "config" | "onRebuild" | "format"> {
  /** Called if the host could not delete the states at the end of the run. */
  readonly onNotDeleted?: (error: Error) => void;
}

/** Has the blocks of one run pruned, in their order. */
export interface BlockSolver {
  /** Returns the checked answer for a block. */
  solve(block: number): Promise<SolvedBlock>;
  /** Ends the run, whose layers are all stored. */
  end(): Promise<void>;
}

/** A place that prunes the blocks of runs, such as an edge. */
export interface BlockServer {
  begin(run: SolvedRun): BlockSolver;
}

/** Prunes the blocks of one run at a host, or at another place. */
export class RemoteBlocks implements RoundSolver {
  #states?: AnsweredStates;

  constructor(
    private readonly server: BlockHost | BlockServer,
    private readonly options: RemoteBlocksOptions,
  ) {}

  begin({ model, options, queryOf }: CalibrationRun): BlockStates {
    // The host rounds the layers of a block that it trains, and answers with the last solution.
    const plan = new BlockPlan(model.spec, { ...options, isRounded: undefined });
    const run: SolvedRun = {
      ...this.options,
      model,
      options,
      plan,
      trained: new Map(options.reconstructed),
      queryOf,
    };
    const solver = this.server instanceof BlockHost
      ? statesSolver(new WindowStates(this.server, run, run.options), run, this.options)
      : this.server.begin(run);
    return this.#states = new AnsweredStates(run, solver);
  }

  /** Takes the layers of a round from the answer for the block that the states of `begin` have opened last. */
  readonly solveRound: RoundSolver["solveRound"] = (groups) => this.#states!.answered(groups);
}

/** States at a host that calibrates, solves and trains a whole block when it is opened. The steps take their results from its answer. */
class AnsweredStates implements BlockStates {
  readonly plan: BlockPlan;
  readonly blocks: readonly number[];
  #answer: SolvedBlock = { layers: [] };

  constructor(private readonly run: SolvedRun, private readonly solver: BlockSolver) {
    this.plan = run.plan;
    this.blocks = openBlocks(run.plan);
  }

  async open(block: number): Promise<OpenBlock> {
    const { decision, reconstructed } = this.#answer = await this.solver.solve(block);
    if (reconstructed) this.run.trained.set(block, [...reconstructed.tensors.keys()]);
    return { block, weights: this.run.model.weights, replaced: new Map(), decision };
  }

  collect({ block }: OpenBlock): Promise<CollectedRound> {
    const layers = new Map(this.#answer.layers.map((layer) => [layer.name, layer]));
    return Promise.resolve({
      group: ({ layers: [{ name }] }, solved) => ({
        block,
        layers: solved,
        tokens: layers.get(name)?.tokens,
      }),
      destroy: () => {},
    });
  }

  async *answered(groups: AsyncIterable<CalibratedGroup>): AsyncGenerator<RoundLayer, void, void> {
    for await (const group of groups) {
      for (const layer of group.layers) {
        const solved = this.#answer.layers.find(({ name }) => name === layer.name);
        if (!solved) throw new Error(`${layer.name}: the server has not pruned this layer`);
        yield { group, layer, ...solved };
      }
    }
  }

  measure(): Promise<number> {
    throw new MalformedAnswerError("answer of /v1/blocks: the decision about targets is missing");
  }

  train(): Promise<ReconstructedBlock | undefined> {
    return Promise.resolve(this.#answer.reconstructed);
  }

  advance({ block }: OpenBlock, measures: boolean): Promise<number | undefined> {
    const { layers, error, reconstructed } = this.#answer;
    this.#answer = { layers: [] };
    // The tensors of an answer share its memory, which garbage collection would free only after the next block.
    const [tensor] = [...layers.map(({ weight }) => weight), ...reconstructed?.tensors.values() ?? []];
    if (tensor) freeArray(tensor.data);
    return Promise.resolve(measures && !this.run.options.measured?.has(block) ? error : undefined);
  }

  end(): Promise<void> {
    return this.solver.end();
  }

  destroy(): void {}
}

/** Returns a solver that has the blocks pruned at the host of `states`. */
function statesSolver(states: WindowStates, run: SolvedRun, options: RemoteBlocksOptions): BlockSolver {
  return {
    async solve(block) {
      const { parameters, tensors, queries, ...expected } = blockRequest(run, block),
        { signal } = run.options;
      const request = (host: BlockHost) =>
        host.run({ kind: "prune", ...parameters }, tensors, queries, { signal, ...expected });
      // The host may have pruned the block already. It then sends its answer again. If the states did not advance, the
      // next block is then the number of blocks.
      const isAnswered = (next: number) => next === block + 1 || !parameters.advance;
      const solved = await states.before(block, request, isAnswered);
      states.nextBlock = block + 1;
      return solved;
    },
    end: () => deleteStates(states, options),
  };
}

/** Deletes the states at the end of a run. If the host cannot be reached, it evicts them later. */
export async function deleteStates(
  states: WindowStates,
  { onNotDeleted }: Pick<RemoteBlocksOptions, "onNotDeleted">,
): Promise<void> {
  try {
    await states.delete();
  } catch (error) {
    if (!(error instanceof PareError || error instanceof ConnectionError)) throw error;
    onNotDeleted?.(error);
  }
}
