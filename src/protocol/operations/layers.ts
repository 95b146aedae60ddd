/** The operation `POST /v1/layers`, which prunes one layer. */

import { layerQuerySchema } from "../parameters.ts";
import type { ProblemCode } from "../problem.ts";
import { KEY_PROBLEMS, type Operation, WITH_KEY } from "./operation.ts";
import { SAFETENSORS_CONTENT, safetensorsBody } from "./safetensors_content.ts";
import { LAYER_ANSWER_TENSORS, LAYER_REQUEST_TENSORS, tensorTable } from "./tensors.ts";

/** The problems of a request that sends tensors to a device. */
export const TENSOR_PROBLEMS = [
  "malformed_safetensors",
  "truncated_body",
  "invalid_parameter",
  "invalid_host",
  ...KEY_PROBLEMS,
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

/** Prunes one layer. */
export const PRUNE_LAYER = {
  method: "post",
  path: "/v1/layers",
  operationId: "pruneLayer",
  summary: "Prune one layer",
  description:
    "Prunes the layer in the body, and answers with its new weights. `in` and `out` are the numbers of inputs and " +
    "outputs of the layer. The body has `weight`, optionally `mask`, and the statistics of the inputs in one of the forms " +
    "`hessian`, `hessian_upper` and `inputs`, unless the parameter `hessian` names stored statistics. " +
    "The parameter `method` says which methods need no statistics. The same request on the same adapter gives bit-identical tensors.",
  tags: ["Layers"],
  security: WITH_KEY,
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
