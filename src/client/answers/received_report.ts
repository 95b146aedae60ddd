/** The schema of a report, as the client reads it from the metadata of an answer, and from the layers of a job. */

import * as z from "zod/mini";
import type { Report } from "../../protocol/answers/report.ts";

/** The schema of a report. Old hosts leave out the members that have a default here. */
export const receivedReport: z.ZodMiniType<Report> = z.object({
  method: z.string(),
  rows: z.number(),
  cols: z.number(),
  pattern: z.string(),
  sparsity: z.number(),
  zeros: z.number(),
  loss: z.nullable(z.number()),
  relative_error: z.nullable(z.number()),
  damping: z.nullable(z.number()),
  iterations: z._default(z.number(), 0),
  refit_steps: z._default(z.number(), 0),
  notes: z._default(z.array(z.string()), () => []),
  backend: z.string(),
  adapter: z.string(),
  seconds: z.object({
    read: z.number(),
    factor: z.number(),
    solve: z.number(),
    refit: z.number(),
    total: z.number(),
  }),
  factor_reused: z.boolean(),
});
