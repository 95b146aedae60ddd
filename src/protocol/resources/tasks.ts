/**
 * The messages of `/v1/tasks` between an edge and a host. A task is one layer of a job. It has signed URLs, from which
 * the host reads the tensors of the layer, and to which it writes the answer.
 */

import { z } from "zod";
import { digestSchema, idSchema } from "./fields.ts";
import { layerParametersSchema } from "./jobs.ts";
import { reportSchema } from "./layers.ts";

/** The longest time in seconds for which a host waits for the end of a task before it answers (`Prefer: wait=`). */
export const MAX_TASK_WAIT_SECONDS = 60;

/** A file to read at a signed URL, with its digest. */
const sourceSchema = z.strictObject({ url: z.url(), sha256: digestSchema });

/** The body of `POST /v1/tasks`. A second request with the same id asks for the state of the same task. */
export const taskRequestSchema = z.strictObject({
  id: idSchema,
  weight: sourceSchema,
  hessian: sourceSchema.optional(),
  result: z.strictObject({ url: z.url() }),
  parameters: layerParametersSchema,
}).meta({ id: "TaskRequest" });

/** The answer about a task that is running or done. If the task has failed, the answer is its problem instead. */
export const taskAnswerSchema = z.discriminatedUnion("state", [
  z.object({ state: z.literal("running") }),
  z.object({
    state: z.literal("done"),
    report: reportSchema,
    result: z.object({ sha256: digestSchema, bytes: z.int() }),
  }),
]).meta({ id: "TaskAnswer" });

export type TaskRequest = z.output<typeof taskRequestSchema>;

export type TaskAnswer = z.infer<typeof taskAnswerSchema>;
