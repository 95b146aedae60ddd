/** The operations of `/v1/hessians/{digest}`, which stores statistics that several layers share. */

import { z } from "zod";
import { digestSchema } from "./fields.ts";
import type { ProblemCode } from "../problem_codes.ts";
import { TENSOR_PROBLEMS } from "./layers.ts";
import { json, NO_QUERY, type Operation } from "./operation.ts";
import { safetensorsBody, STATISTICS_TENSORS, tensorTable } from "./tensors.ts";

const path = "/v1/hessians/{digest}" as const;

const params = z.object({
  digest: digestSchema.meta({ description: "The sha-256 of the body that stores the statistics" }),
});

const storedSchema = z.object({
  digest: digestSchema,
  order: z.int().meta({ description: "The number of inputs of the layers that use these statistics" }),
}).meta({ id: "StoredHessian", description: "Stored statistics" });

/** The problems of a request about stored statistics. */
const LOOKUP_PROBLEMS = [
  "invalid_parameter",
  "invalid_host",
  "hessian_not_found",
  "internal",
  "no_device",
  "device_lost",
  "shutting_down",
] as const satisfies ProblemCode[];

export const FIND_HESSIAN = {
  method: "get",
  path,
  operationId: "findHessian",
  summary: "Find stored statistics",
  tags: ["Statistics"],
  scope: "hessians",
  request: { params, query: NO_QUERY },
  responses: { 200: { description: "The statistics are stored", content: json(storedSchema) } },
  problems: LOOKUP_PROBLEMS,
} satisfies Operation;

export const HAS_HESSIAN = {
  ...FIND_HESSIAN,
  method: "head",
  operationId: "hasHessian",
  summary: "Ask whether statistics are stored",
  description: "Like `GET`, but without a body.",
  responses: { 200: { description: "The statistics are stored" } },
} satisfies Operation;

export const STORE_HESSIAN = {
  method: "put",
  path,
  operationId: "storeHessian",
  summary: "Store statistics",
  description:
    "Stores the statistics of inputs that several layers share. The requests for these layers name them with `?hessian=`. The server " +
    "also stores their factor. If the store is full, the least recently used statistics are evicted.",
  tags: ["Statistics"],
  scope: "hessians",
  request: {
    params,
    query: NO_QUERY,
    body: safetensorsBody(
      `${
        tensorTable(STATISTICS_TENSORS)
      }\n\nThe file has one of the first two, and may have one of the others.`,
    ),
  },
  responses: {
    200: { description: "The statistics were stored already", content: json(storedSchema) },
    201: { description: "The statistics are stored now", content: json(storedSchema) },
  },
  problems: [...TENSOR_PROBLEMS, "digest_mismatch"],
} satisfies Operation;

export const DELETE_HESSIAN = {
  method: "delete",
  path,
  operationId: "deleteHessian",
  summary: "Delete statistics",
  tags: ["Statistics"],
  scope: "hessians",
  request: { params, query: NO_QUERY },
  responses: { 204: { description: "The statistics are deleted" } },
  problems: LOOKUP_PROBLEMS,
} satisfies Operation;
