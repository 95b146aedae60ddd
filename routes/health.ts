/** `GET /healthz` answers while the process is up. `GET /readyz` answers 200 while the device can be used, and describes the device. */

import { createRoute } from "@hono/zod-openapi";
import type { DeviceSession } from "../src/host/device.ts";
import { MAX_BLOCKSIZE, MAX_FEATURES } from "../src/protocol/limits.ts";
import type { HostApp } from "./host_app.ts";
import type { HostServices } from "../src/host/host_services.ts";
import { routeConfig } from "../src/protocol/resources/operation.ts";
import { HEALTHZ, READYZ } from "../src/protocol/resources/server.ts";
import type { Ready } from "../src/protocol/messages.ts";

/** Adds both resources to the application. */
export function healthRoutes(app: HostApp, services: HostServices): void {
  app.openapi(createRoute(routeConfig(HEALTHZ)), (c) => c.json({ status: "up" as const }, 200));

  app.openapi(
    createRoute(routeConfig(READYZ)),
    (c) => c.json(describeDevice(services, services.device.session()), 200),
  );
}

/** Returns the answer of `/readyz`, which the start page shows too. */
export function describeDevice(
  { limits, version }: HostServices,
  { backend, residentQueue }: DeviceSession,
): Ready {
  return {
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
    self_check: backend.selfCheck ? { passed: true, seconds: backend.selfCheck.seconds } : null,
    queue: { waiting: residentQueue.waiting, resident: residentQueue.running },
  };
}
