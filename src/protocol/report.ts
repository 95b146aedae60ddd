/** What was done to a layer, as the answer tells it: in `__metadata__.report` and in the `Pare-Report` header. */

import { z } from "zod";

const seconds = z.number().min(0);

/** The report of one solved layer. */
export const reportSchema = z.object({
  method: z.string().meta({ description: "The method asked for", example: "sparsegpt" }),
  rows: z.int().min(1).meta({ description: "out_features" }),
  cols: z.int().min(1).meta({ description: "in_features" }),
  pattern: z.string().meta({ description: "unstructured or n:m", example: "2:4" }),
  sparsity: z.number().min(0).max(1).meta({ description: "zeros / (rows·cols), as achieved" }),
  zeros: z.int().min(0).meta({ description: "Entries pruned" }),
  loss: z.number().nullable().meta({
    description: "tr(ΔHΔᵀ) on the undamped statistics; null where there were none",
  }),
  relative_error: z.number().nullable().meta({
    description: "loss / tr(WHWᵀ); null where not asked for or without statistics",
  }),
  damping: z.number().nullable().meta({
    description: "The λ used, after retries; null where nothing was factored",
  }),
  backend: z.string().meta({ example: "webgpu" }),
  adapter: z.string().meta({ description: "The device, for people", example: "NVIDIA H100 80GB HBM3" }),
  seconds: z.object({
    read: seconds.meta({ description: "From the first byte to all tensors on the device" }),
    factor: seconds,
    solve: seconds,
    refit: seconds,
    total: seconds.meta({ description: "From the first byte to the start of the answer, waiting included" }),
  }),
  factor_reused: z.boolean().meta({ description: "Whether a kept factor saved the factorisation" }),
}).meta({ id: "Report", description: "What was done to a layer" });

/** The report of one solved layer. */
export type Report = z.infer<typeof reportSchema>;
