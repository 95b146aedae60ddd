/** The body by which the host adds up the statistics of a round of a block. */

import { BlockPlan } from "../../prune/block_plan.ts";
import type { SumTask } from "../../protocol/resources/tasks.ts";
import { openSafetensors } from "../../tensor/safetensors/decode.ts";
import { MAX_BLOCK_HEADER_BYTES } from "../blocks/check_body.ts";
import { readQueries } from "../blocks/run_block.ts";
import type { States, StoredSums } from "../blocks/states.ts";
import type { BlobBody } from "./blob_store.ts";
import { prunedBody, withAnswers } from "./pruned_body.ts";
import type { TaskContext } from "./task_context.ts";

export interface RoundBody {
  /** The number of rounds of the block. */
  readonly rounds: number;
  /** Whether the sums are those of the round. */
  isOf(sums: StoredSums | undefined): boolean;
  /** Calls `work` with the body, which is in memory in part. */
  open(work: (body: BlobBody) => Promise<unknown>): Promise<unknown>;
}

/**
 * Returns the body of the block. If the block is true-sequential, only the layers of the round are in its metadata, and the
 * layers of the rounds before are replaced by those in `task.solved`.
 * @throws {SafetensorsError} {Refusal} if a file is not that of the block, and the errors of `BlobStore`
 */
export async function roundBody(
  { block, index, round, solved, parameters: { true_sequential, format } }: SumTask,
  used: States,
  context: TaskContext,
  signal: AbortSignal,
): Promise<RoundBody> {
  const { spec } = used.forward.model, openBlock = () => context.blobs.open(block, signal);
  if (!true_sequential) {
    return {
      rounds: 1,
      isOf: (sums) => sums !== undefined,
      open: async (work) => await work(await openBlock()),
    };
  }
  const body = await openBlock();
  const file = await openSafetensors(body.bytes, { ...body, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  await file.close();
  const queries = readQueries(file.header.metadata.layers, spec, index);
  const rounds = new BlockPlan(spec, { layers: queries, trueSequential: true }).rounds(index);
  const names = (rounds[round] ?? []).flatMap(({ layers }) => layers.map(({ name }) => name));
  return {
    rounds: Math.max(1, rounds.length),
    isOf: (sums) => sums?.layers.size === names.length && names.every((name) => sums.layers.has(name)),
    open: (work) =>
      withAnswers(solved, used, context, signal, async (answers) => {
        const layers = JSON.stringify(Object.fromEntries(names.map((name) => [name, queries.get(name)])));
        const earlier = { layers: answers.flatMap(({ layers }) => layers) };
        const pruned = { spec, index, isPacked: format === "pack-quantized" };
        return await work(await prunedBody(await openBlock(), earlier, pruned, { layers }));
      }),
  };
}
