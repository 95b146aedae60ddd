/**
 * `POST /v1/layers`, which prunes one layer, and the report of the layer. An answer has the report twice, in its
 * metadata (`__metadata__.report`) and in the header `Pare-Report`.
 */

import { z } from "zod";
import { described } from "./fields.ts";
import { DEFAULT_METHOD } from "../methods.ts";
import { layerQuerySchema } from "../parameters.ts";
import type { ProblemCode } from "../problem_codes.ts";
import type { Operation } from "./operation.ts";
import {
  LAYER_ANSWER_TENSORS,
  LAYER_REQUEST_TENSORS,
  SAFETENSORS_CONTENT,
  safetensorsBody,
  tensorTable,
} from "./tensors.ts";

const seconds = z.number().min(0);

export const REPORT_DESCRIPTION = "The report of a solved layer";

export const reportSchema = z.object({
  method: z.string().meta({ description: "The requested method", example: DEFAULT_METHOD }),
  rows: z.int().min(1).meta({ description: "out_features" }),
  cols: z.int().min(1).meta({ description: "in_features" }),
  pattern: z.string().meta({ description: "unstructured, n:m or columns", example: "2:4" }),
  sparsity: z.number().min(0).max(1).meta({ description: "zeros / (rows·cols)" }),
  zeros: z.int().min(0).meta({ description: "The number of pruned entries" }),
  loss: z.number().nullable().meta({
    description:
      "tr(ΔHΔᵀ), where Δ is the change of the weights, rounded to the dtype of the answer, and H the undamped statistics. Null without statistics, or with a reason in `notes` if f32 cannot hold it, or if the damping outweighs it so much that the rounding of f32 would decide it",
  }),
  relative_error: z.number().nullable().meta({
    description:
      "loss / tr(WHWᵀ), where W is the weight before pruning. Null without statistics, with error=false, or with a reason in `notes` if the loss is null, f32 cannot hold it or only the denominator is 0",
  }),
  validation_loss: z.number().nullable().optional().meta({
    description:
      "tr(ΔHvΔᵀ) with the validation statistics Hv. Null if f32 cannot hold it. With a target, Δ is the change from the weights after the step. Absent without validation statistics, like the next three fields",
  }),
  validation_error: z.number().nullable().optional().meta({
    description:
      "validation_loss / tr(WHvWᵀ). Null with error=false, if the loss is null, or if only the denominator is 0",
  }),
  validation_choice: z.enum(["method", "magnitude"]).optional().meta({
    description:
      "The mask of the answer: that of the method, or that of magnitude if its validation loss was smaller",
  }),
  nearest_rows: z.int().min(0).optional().meta({
    description:
      "The number of rows that have the original weights, pruned and rounded to nearest, because their validation loss was smaller",
  }),
  damping: z.number().nullable().meta({
    description:
      "The λ that was used. It exceeds the requested λ if the factorisation was retried. Null if the method used no damped statistics",
  }),
  shrinkage: z.number().optional().meta({
    description:
      "s, if damping=auto chose (1 − s)·H + s·diag(H) in place of the Hessian H. Absent if the Hessian was not shrunk. `loss` and `relative_error` are always those on H",
  }),
  iterations: z.int().min(0).default(0).meta({
    description: "The iterations that searched for the mask. 0 if the method does not iterate",
  }),
  refit_steps: z.int().min(0).default(0).meta({ description: "The conjugate-gradient steps of the result" }),
  target_step: z.number().optional().meta({
    description: "α, the size of the step towards the target that was taken. Absent without a target",
  }),
  target_change: described(
    z.object({
      result: z.number().nullable().meta({ description: "The change of the error by the answer" }),
      step: z.number().nullable().meta({
        description: "The change by the step towards the target, before any weight is pruned",
      }),
      validation: z.number().nullable().optional().meta({
        description:
          "The change by the answer on the validation statistics and the validation target. Absent without a validation target",
      }),
    }),
    "The change of the layer's error against the target, Σ‖Mx − y‖² for weights M, from the weight before pruning, divided by " +
      "tr(WHWᵀ). A negative change is an improvement. Null if f32 cannot hold it. Absent without a target. With a target, " +
      "`loss` and `relative_error` are larger, because they remain errors against the weight before pruning",
  ).optional(),
  notes: z.array(z.string()).default([]).meta({ description: "Remarks on the solve, as sentences" }),
  backend: described(z.string().meta({ example: "webgpu" }), "`webgpu` or `cpu`"),
  adapter: z.string().meta({ description: "The name of the device", example: "NVIDIA H100 80GB HBM3" }),
  seconds: described(
    z.object({
      read: seconds.meta({ description: "From the first byte until all tensors are on the device" }),
      factor: described(seconds, "The factorisation of the statistics"),
      solve: described(seconds, "The choice of the mask and the update of the weights"),
      refit: described(seconds, "The conjugate-gradient steps on the mask"),
      total: seconds.meta({
        description: "From the start of the request to the start of the answer, including waits",
      }),
    }),
    "The time of each phase of a solve, in seconds",
  ),
  factor_reused: z.boolean().meta({ description: "Whether a stored factor was used" }),
}).meta({ id: "Report", description: REPORT_DESCRIPTION });

/** The problems of a request that sends tensors to a device. */
export const TENSOR_PROBLEMS = [
  "malformed_safetensors",
  "truncated_body",
  "invalid_parameter",
  "invalid_host",
  "too_slow",
  "length_required",
  "too_large",
  "unsupported_media_type",
  "shape_mismatch",
  "non_finite",
  "not_symmetric",
  "busy",
  "internal",
  "no_device",
  "device_lost",
  "shutting_down",
] as const satisfies ProblemCode[];

export const PRUNE_LAYER = {
  method: "post",
  path: "/v1/layers",
  operationId: "pruneLayer",
  summary: "Prune one layer",
  description:
    "Prunes the layer in the body, and answers with its new weights. `in` and `out` are the numbers of inputs and " +
    "outputs of the layer. The body has `weight`, optionally `mask` and `target`, and the statistics of the inputs in one of the forms " +
    "`hessian`, `hessian_upper` and `inputs`, unless the parameter `hessian` names stored statistics. " +
    "The parameter `method` says which methods need no statistics. The same request on the same adapter gives bit-identical tensors.",
  tags: ["Layers"],
  scope: "solve",
  request: {
    query: layerQuerySchema,
    body: safetensorsBody(tensorTable(LAYER_REQUEST_TENSORS)),
  },
  responses: {
    200: {
      description:
        "The pruned layer, a safetensors file. `groups` is ⌈in/`group_size`⌉, or 1 if `group_size` is 0. A rounded " +
        "weight is (code − zero)·scale. The metadata of the file has the report as JSON, under the name `report`.\n\n" +
        tensorTable(LAYER_ANSWER_TENSORS),
      headers: {
        "Pare-Report": {
          description: "The report of the layer",
          content: { "application/json": { schema: { $ref: "#/components/schemas/Report" } } },
        },
        "Server-Timing": { description: "The phases, in milliseconds", schema: { type: "string" } },
      },
      content: SAFETENSORS_CONTENT,
    },
  },
  problems: [...TENSOR_PROBLEMS, "hessian_not_found", "not_positive_definite", "unsupported"],
} satisfies Operation;
