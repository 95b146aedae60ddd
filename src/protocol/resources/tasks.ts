/**
 * The messages of `/v1/tasks` between an edge, the public server in front of GPU hosts, and a host. A task is one layer of a job that the
 * edge gives to the host. It has signed URLs, from which the host reads the tensors and to which it writes the answer.
 */

import { z } from "zod";
import { digestSchema, idSchema } from "./fields.ts";
import { layerParametersSchema } from "./jobs.ts";
import { reportSchema } from "./layers.ts";

/** The longest time in seconds for which a host delays its answer until the task is done (`Prefer: wait=`). */
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

/** The answer about a task that is running or done. A task that has failed is answered with its problem. */
export const taskAnswerSchema = z.discriminatedUnion("state", [
  z.object({ state: z.literal("running") }),
  z.object({
    state: z.literal("done"),
    report: reportSchema,
    result: z.object({ sha256: digestSchema, bytes: z.int() }),
  }),
]).meta({ id: "TaskAnswer" });

/** A task as an edge sends it to a host. */
export type TaskRequest = z.output<typeof taskRequestSchema>;

/** The answer about a task that is running or done. */
export type TaskAnswer = z.infer<typeof taskAnswerSchema>;
