/**
 * The messages of `/v1/tasks` between an edge and a host. A task is one layer of a job, or one request about the hidden
 * states of a model whose blocks a job prunes. It has signed URLs, from which the host reads the tensors, and to which it
 * writes the answer.
 */

import { z } from "zod";
import { digestSchema, idSchema } from "./fields.ts";
import { blockParametersSchema, layerParametersSchema, targetSchema } from "./jobs.ts";
import { reportSchema } from "./layers.ts";

/** The most shares into which the windows of a model are divided. */
export const MAX_SHARES = 8;

/** The most calibration rounds of a block. Those of the known families have at most eight. */
const MAX_ROUNDS = 16;

/** The most files with the solved layers of a block: one per share in each round. */
export const MAX_PARTS = MAX_ROUNDS * MAX_SHARES;

/** The longest time in seconds for which a host waits for the end of a task before it answers (`Prefer: wait=`). */
export const MAX_TASK_WAIT_SECONDS = 60;

/** A file to read at a signed URL, with its digest. */
const sourceSchema = z.strictObject({ url: z.url(), sha256: digestSchema });

const resultSchema = z.strictObject({ url: z.url() });

const layerTaskSchema = z.strictObject({
  id: idSchema,
  weight: sourceSchema,
  hessian: sourceSchema.optional(),
  result: resultSchema,
  parameters: layerParametersSchema,
});

/** One of several hosts that share the work for the blocks of a model. */
const shareSchema = z.strictObject({
  index: z.int().min(0).max(MAX_SHARES - 1),
  count: z.int().min(1).max(MAX_SHARES),
});

/** Creates the hidden states `states` from a body of `PUT /v1/states/{name}`, for a share of its windows or for all. */
const createStatesSchema = z.strictObject({
  id: idSchema,
  states: idSchema,
  windows: sourceSchema,
  target: targetSchema,
  share: shareSchema.optional(),
});

/** Deletes the hidden states `states`. */
const deleteStatesSchema = z.strictObject({ id: idSchema, states: idSchema });

/** The block with the index `index`, whose tensors are in a body of `POST /v1/blocks`. */
const blockSchema = z.strictObject({
  id: idSchema,
  states: idSchema,
  index: z.int().min(0),
  block: sourceSchema,
  parameters: blockParametersSchema,
});

/** Prunes a block. */
const pruneBlockSchema = blockSchema.extend({ result: resultSchema });

/** Runs the hidden states through a block that is pruned already. `pruned` is the answer of `POST /v1/blocks` for it. */
const runBlockSchema = blockSchema.extend({ pruned: sourceSchema });

/** A calibration round of a block. There is one, unless the block is true-sequential. */
const roundSchema = z.int().min(0).max(MAX_ROUNDS - 1).default(0);

/** Files with the shares of the solved layers of a block. */
const partsSchema = z.array(sourceSchema).max(MAX_PARTS);

/**
 * Adds up the statistics of a round of a block over the windows of the states, unless the host has stored them already. The
 * layers of the rounds before are in `solved`. With `result`, adds the statistics to `earlier`, which are those of the shares
 * before, and writes the sums.
 */
const sumBlockSchema = blockSchema.extend({
  step: z.literal("sum"),
  round: roundSchema,
  solved: partsSchema.default([]),
  earlier: sourceSchema.optional(),
  result: resultSchema.optional(),
});

/** Solves a share of the layers of a round by the statistics of all windows, and writes them like the answer of `POST /v1/blocks`. */
const solveBlockSchema = blockSchema.extend({
  sums: sourceSchema,
  round: roundSchema,
  share: shareSchema,
  result: resultSchema,
});

/** Writes the answer for a block of whose layers each file of `parts` has a share, and runs the hidden states through the block. */
const joinBlockSchema = blockSchema.extend({
  parts: partsSchema.min(1),
  result: resultSchema,
});

/** The body of `POST /v1/tasks`. A second request with the same id asks for the state of the same task. */
export const taskRequestSchema = z.union([
  layerTaskSchema,
  createStatesSchema,
  pruneBlockSchema,
  runBlockSchema,
  sumBlockSchema,
  solveBlockSchema,
  joinBlockSchema,
  deleteStatesSchema,
]).meta({ id: "TaskRequest" });

/** The answer about a task that is running or done. If the task has failed, the answer is its problem instead. */
export const taskAnswerSchema = z.discriminatedUnion("state", [
  z.object({ state: z.literal("running") }),
  z.object({
    state: z.literal("done"),
    /** The report of a layer. The reports of a block are in its result. */
    report: reportSchema.optional(),
    /** The written file, if the task has a URL for one. */
    result: z.object({ sha256: digestSchema, bytes: z.int() }).optional(),
    /** The number of shares that have windows, if the task has created the states of a share. */
    shares: z.int().min(1).optional(),
    /** The number of calibration rounds of the block, if the task has added up statistics. */
    rounds: z.int().min(1).max(MAX_ROUNDS).optional(),
  }),
]).meta({ id: "TaskAnswer" });

export type TaskRequest = z.output<typeof taskRequestSchema>;

export type LayerTask = z.output<typeof layerTaskSchema>;

export type StatesTask = Exclude<TaskRequest, LayerTask>;

export type SumTask = z.output<typeof sumBlockSchema>;

export type SolveTask = z.output<typeof solveBlockSchema>;

export type JoinTask = z.output<typeof joinBlockSchema>;

export type RunTask = z.output<typeof runBlockSchema> | JoinTask;

export type Share = z.output<typeof shareSchema>;

export type TaskAnswer = z.infer<typeof taskAnswerSchema>;

/** The answer about a finished task. */
export type FinishedTask = Extract<TaskAnswer, { state: "done" }>;
