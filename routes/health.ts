/** `GET /healthz` answers while the process is up. `GET /readyz` answers 200 while the device can be used, and describes the device. */

import { createRoute, z } from "@hono/zod-openapi";
import { MAX_BLOCKSIZE, MAX_FEATURES } from "../src/protocol/limits.ts";
import { readySchema } from "../src/protocol/ready.ts";
import type { HostApp } from "./host_app.ts";
import type { HostServices } from "../src/host/host_services.ts";
import { problemResponses } from "../src/protocol/openapi.ts";

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

const readyz = createRoute({
  method: "get",
  path: "/readyz",
  summary: "Whether the device can be used",
  responses: {
    200: { description: "The device can be used", content: { "application/json": { schema: readySchema } } },
    ...problemResponses(["no_device", "device_lost"]),
  },
});

/** Adds both resources to the application. */
export function healthRoutes(app: HostApp, { device, limits, version }: HostServices): void {
  app.openapi(healthz, (c) => c.json({ status: "up" as const }, 200));

  app.openapi(readyz, (c) => {
    const { backend, residentQueue } = device.session();
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
      queue: { waiting: residentQueue.waiting, resident: residentQueue.running },
    }, 200);
  });
}
