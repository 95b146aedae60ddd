/** The body by which the host adds up the statistics of a round of a block. */

import type { SumTask, TaskAnswer } from "../../protocol/resources/tasks.ts";
import { openSafetensors } from "../../tensor/safetensors/decode.ts";
import { MAX_BLOCK_HEADER_BYTES } from "../blocks/check_body.ts";
import { readQueries } from "../blocks/run_block.ts";
import type { States, StoredSums } from "../blocks/states.ts";
import type { BlobBody } from "./blob_store.ts";
import { blockRounds } from "./block_rounds.ts";
import { joinAnswers, prunedBody, withAnswers } from "./pruned_body.ts";
import type { TaskContext } from "./task_context.ts";

export interface RoundBody {
  /** The members of the answer that describe the rounds of the block. */
  readonly answer: Pick<Extract<TaskAnswer, { state: "done" }>, "rounds" | "trained_after">;
  /** Whether the sums are those of the round. */
  isOf(sums: StoredSums | undefined): boolean;
  /** Calls `work` with the body, which is in memory in part, and with further parameters. */
  open(
    work: (body: BlobBody, parameters?: { readonly targets: boolean }) => Promise<unknown>,
  ): Promise<unknown>;
}

/**
 * Returns the body of the block. If the block has several rounds, only the layers of the round are in its metadata, and the
 * tensors in `task.solved` replace those of the block.
 * @throws {SafetensorsError} {Refusal} if a file is not that of the block, and the errors of `BlobStore`
 */
export async function roundBody(
  task: SumTask,
  used: States,
  context: TaskContext,
  signal: AbortSignal,
): Promise<RoundBody> {
  const { block, index, round, solved, parameters: { true_sequential, reconstruct, format } } = task;
  const { spec } = used.forward.model, openBlock = () => context.blobs.open(block, signal);
  if (!true_sequential && reconstruct === 0) {
    return {
      answer: { rounds: 1 },
      isOf: (sums) => sums !== undefined,
      open: async (work) => await work(await openBlock()),
    };
  }
  const body = await openBlock();
  const file = await openSafetensors(body.bytes, { ...body, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  await file.close();
  const queries = readQueries(file.header.metadata.layers, spec, index);
  const { rounds, trainedAfter = Infinity, isRoundedLast } = blockRounds(spec, task, queries);
  const names = (rounds[round] ?? []).flatMap(({ layers }) => layers.map(({ name }) => name));
  return {
    answer: {
      rounds: Math.max(1, rounds.length),
      ...Number.isFinite(trainedAfter) && { trained_after: trainedAfter },
    },
    isOf: (sums) =>
      sums?.round === round && sums.layers.size === names.length &&
      names.every((name) => sums.layers.has(name)),
    open: (work) =>
      withAnswers(solved, used, context, signal, async (answers) => {
        const layers = JSON.stringify(Object.fromEntries(names.map((name) => [name, queries.get(name)])));
        const isPacked = format === "pack-quantized" && !(isRoundedLast && round < trainedAfter);
        const pruned = { spec, index, isPacked };
        const whole = await prunedBody(await openBlock(), joinAnswers(answers), pruned, { layers });
        return await work(whole, { targets: round < trainedAfter });
      }),
  };
}
