/** The operations that describe a server: `/healthz`, `/readyz`, `/ping`, `/metrics` and `/openapi.json`. */

import { z } from "zod";
import { SDK_TEXTS } from "./fields.ts";
import { json, NO_QUERY, type Operation } from "./operation.ts";

/** The answer of `GET /readyz`. */
export const readySchema = z.object({
  status: z.literal("ready"),
  version: z.string(),
  backend: z.string(),
  adapter: z.object({ name: z.string(), software: z.boolean() }),
  limits: z.object({
    max_body_bytes: z.int(),
    max_features: z.int(),
    max_blocksize: z.int(),
    max_buffer_bytes: z.int(),
  }),
  self_check: z.object({ passed: z.literal(true), seconds: z.number() }).nullable().meta({
    description:
      "The check of every kernel before the device was first used. A device that fails it is not used. " +
      "Null if the program that opened the device did not check it",
  }),
  queue: z.object({ waiting: z.int(), resident: z.int() }),
}).meta({ id: "Ready" }).register(SDK_TEXTS, {
  description: "A server whose device can be used, with its limits and the current length of its queue",
});

export const HEALTHZ = {
  method: "get",
  path: "/healthz",
  operationId: "getHealth",
  summary: "Ask whether the process is up",
  tags: ["Server"],
  scope: "public",
  request: { query: NO_QUERY },
  responses: {
    200: { description: "The process is up", content: json(z.object({ status: z.literal("up") })) },
  },
  problems: ["invalid_parameter", "invalid_host"],
} satisfies Operation;

export const READYZ = {
  method: "get",
  path: "/readyz",
  operationId: "getReadiness",
  summary: "Ask whether the device can be used",
  description:
    "While the device can be used, the answer has the backend, the adapter, its self-check, the limits and the queue.",
  tags: ["Server"],
  scope: "public",
  request: { query: NO_QUERY },
  responses: { 200: { description: "The device can be used", content: json(readySchema) } },
  problems: ["invalid_parameter", "invalid_host", "internal", "no_device", "device_lost", "shutting_down"],
} satisfies Operation;

export const PING = {
  method: "get",
  path: "/ping",
  operationId: "getStart",
  summary: "Ask whether the device was opened",
  description:
    "The load balancers of serverless platforms ask this resource, and send requests to a host that has answered 200.",
  tags: ["Server"],
  scope: "public",
  request: { query: NO_QUERY },
  responses: {
    200: { description: "The device can be used", content: json(z.object({ status: z.literal("ready") })) },
    204: { description: "The host has started, and still opens and checks its device" },
  },
  problems: READYZ.problems,
} satisfies Operation;

export const METRICS = {
  method: "get",
  path: "/metrics",
  operationId: "getMetrics",
  summary: "Read counters and gauges",
  tags: ["Server"],
  scope: "metrics",
  request: { query: NO_QUERY },
  responses: {
    200: {
      description: "Text in the format of Prometheus",
      content: { "text/plain": { schema: z.string() } },
    },
  },
  problems: ["invalid_parameter", "invalid_host", "internal"],
} satisfies Operation;

export const OPENAPI = {
  method: "get",
  path: "/openapi.json",
  operationId: "getContract",
  summary: "Read this document",
  tags: ["Server"],
  scope: "public",
  request: { query: NO_QUERY },
  responses: {
    200: {
      description: "The contract in OpenAPI 3.1",
      content: json(z.looseObject({ openapi: z.string() })),
    },
  },
  problems: ["invalid_parameter", "invalid_host", "internal"],
} satisfies Operation;
