/** The report of a solved layer. An answer carries it twice, in its metadata (`__metadata__.report`) and in the header `Pare-Report`. */

import { z } from "zod";
import { DEFAULT_METHOD } from "./methods.ts";

const seconds = z.number().min(0);

/** The description of the report in the OpenAPI documents. */
export const REPORT_DESCRIPTION = "The report of a solved layer";

/** The schema of the report of one solved layer. */
export const reportSchema = z.object({
  method: z.string().meta({ description: "The requested method", example: DEFAULT_METHOD }),
  rows: z.int().min(1).meta({ description: "out_features" }),
  cols: z.int().min(1).meta({ description: "in_features" }),
  pattern: z.string().meta({ description: "unstructured or n:m", example: "2:4" }),
  sparsity: z.number().min(0).max(1).meta({ description: "zeros / (rows·cols)" }),
  zeros: z.int().min(0).meta({ description: "The number of pruned entries" }),
  loss: z.number().nullable().meta({
    description:
      "tr(ΔHΔᵀ), where Δ is the change of the weights and H the undamped statistics. Null without statistics, or with a reason in `notes` if f32 cannot hold it, or if the damping outweighs it so much that the rounding of f32 would decide it",
  }),
  relative_error: z.number().nullable().meta({
    description:
      "loss / tr(WHWᵀ), where W is the weight before pruning. Null without statistics, with error=false, or with a reason in `notes` if the loss is null, f32 cannot hold it or only the denominator is 0",
  }),
  damping: z.number().nullable().meta({
    description:
      "The λ that was used. It exceeds the requested λ if the factorisation was retried. Null if the method used no damped statistics",
  }),
  iterations: z.int().min(0).default(0).meta({
    description: "The iterations that searched for the mask. 0 if the method does not iterate",
  }),
  refit_steps: z.int().min(0).default(0).meta({ description: "The conjugate-gradient steps of the result" }),
  notes: z.array(z.string()).default([]).meta({ description: "Remarks on the solve, as sentences" }),
  backend: z.string().meta({ example: "webgpu" }),
  adapter: z.string().meta({ description: "The name of the device", example: "NVIDIA H100 80GB HBM3" }),
  seconds: z.object({
    read: seconds.meta({ description: "From the first byte until all tensors are on the device" }),
    factor: seconds,
    solve: seconds,
    refit: seconds,
    total: seconds.meta({
      description: "From the start of the request to the start of the answer, including waits",
    }),
  }),
  factor_reused: z.boolean().meta({ description: "Whether a stored factor was used" }),
}).meta({ id: "Report", description: REPORT_DESCRIPTION });

export type { Report } from "./answers/report.ts";
