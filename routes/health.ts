/** `GET /healthz` says that the process answers. `GET /readyz` says whether its device can be used, and describes the device. */

import { createRoute, z } from "@hono/zod-openapi";
import { MAX_BLOCKSIZE, MAX_FEATURES } from "../src/protocol/limits.ts";
import type { HostApp } from "./host_app.ts";
import type { Services } from "./host_env.ts";
import { problemResponses } from "../src/protocol/problem_responses.ts";

const healthz = createRoute({
  method: "get",
  path: "/healthz",
  summary: "Whether the process is up",
  responses: {
    200: {
      description: "The process is up",
      content: { "application/json": { schema: z.object({ status: z.literal("up") }) } },
    },
  },
});

const readySchema = z.object({
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
  queue: z.object({ waiting: z.int(), resident: z.int() }),
}).meta({ id: "Ready" });

const readyz = createRoute({
  method: "get",
  path: "/readyz",
  summary: "Whether the device can be used",
  responses: {
    200: { description: "The device can be used", content: { "application/json": { schema: readySchema } } },
    ...problemResponses(["no_device", "device_lost"]),
  },
});

/** Mounts both resources. */
export function healthRoutes(app: HostApp, { device, limits, version }: Services): void {
  app.openapi(healthz, (c) => c.json({ status: "up" as const }, 200));

  app.openapi(readyz, (c) => {
    const { backend, residence } = device.session();
    return c.json({
      status: "ready" as const,
      version,
      backend: backend.kind,
      adapter: { name: backend.adapter.name, software: backend.adapter.software },
      limits: {
        max_body_bytes: limits.maxBodyBytes,
        max_features: MAX_FEATURES,
        max_blocksize: MAX_BLOCKSIZE,
        max_buffer_bytes: backend.maxBufferBytes,
      },
      queue: { waiting: residence.waiting, resident: residence.running },
    }, 200);
  });
}
