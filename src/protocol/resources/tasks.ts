/**
 * The messages of `/v1/tasks` between an edge and a host. A task is one layer of a job, or one request about the hidden
 * states of a model whose blocks a job prunes. It has signed URLs, from which the host reads the tensors, and to which it
 * writes the answer.
 */

import { z } from "zod";
import { digestSchema, idSchema } from "./fields.ts";
import { blockParametersSchema, layerParametersSchema, targetSchema } from "./jobs.ts";
import { reportSchema } from "./layers.ts";

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

/** Creates the hidden states `states` from a body of `PUT /v1/states/{name}`. */
const createStatesSchema = z.strictObject({
  id: idSchema,
  states: idSchema,
  windows: sourceSchema,
  target: targetSchema,
});

/** Deletes the hidden states `states`. */
const deleteStatesSchema = z.strictObject({ id: idSchema, states: idSchema });

/** The block with the index `index`, whose tensors are in a body of `POST /v1/blocks/prune`. */
const blockSchema = z.strictObject({
  id: idSchema,
  states: idSchema,
  index: z.int().min(0),
  block: sourceSchema,
  parameters: blockParametersSchema,
});

/** Prunes a block. */
const pruneBlockSchema = blockSchema.extend({ result: resultSchema });

/** Runs the hidden states through a block that is pruned already. `pruned` is the answer of `POST /v1/blocks/prune` for it. */
const runBlockSchema = blockSchema.extend({ pruned: sourceSchema });

/** The body of `POST /v1/tasks`. A second request with the same id asks for the state of the same task. */
export const taskRequestSchema = z.union([
  layerTaskSchema,
  createStatesSchema,
  pruneBlockSchema,
  runBlockSchema,
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
  }),
]).meta({ id: "TaskAnswer" });

export type TaskRequest = z.output<typeof taskRequestSchema>;

export type LayerTask = z.output<typeof layerTaskSchema>;

export type StatesTask = Exclude<TaskRequest, LayerTask>;

export type RunTask = z.output<typeof runBlockSchema>;

export type TaskAnswer = z.infer<typeof taskAnswerSchema>;

/** The answer about a finished task. */
export type FinishedTask = Extract<TaskAnswer, { state: "done" }>;
