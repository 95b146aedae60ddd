/**
 * The resources that describe the server. `GET /healthz` answers while the process is up. `GET /readyz` answers 200
 * while the device can be used, and describes the device. `GET /ping` answers 204 until the device was opened, and then
 * 200 while it can be used. `GET /metrics` has counters and gauges as Prometheus text. `GET /openapi.json` is the HTTP
 * contract, generated from the schemas that check the requests.
 */

import { z } from "@hono/zod-openapi";
import type { HostApp } from "./host_app.ts";
import { guardedRoute } from "./middleware.ts";
import type { DeviceSession } from "../src/host/device.ts";
import type { HostServices } from "../src/host/host_services.ts";
import { MAX_BLOCKSIZE, MAX_FEATURES } from "../src/protocol/limits.ts";
import type { Ready } from "../src/protocol/messages.ts";
import { documentOf, KEY_SCHEME } from "../src/protocol/resources/document.ts";
import { REPORT_DESCRIPTION, reportSchema } from "../src/protocol/resources/layers.ts";
import { HEALTHZ, METRICS, OPENAPI, PING, READYZ } from "../src/protocol/resources/server.ts";

export function healthRoutes(app: HostApp, services: HostServices): void {
  const { device, keys } = services;
  app.openapi(guardedRoute(HEALTHZ, keys), (c) => c.json({ status: "up" as const }, 200));

  app.openapi(
    guardedRoute(READYZ, keys),
    (c) => c.json(describeDevice(services, device.session()), 200),
  );

  app.openapi(guardedRoute(PING, keys), (c) => {
    if (device.isStarting) return c.body(null, 204);
    device.session();
    return c.json({ status: "ready" as const }, 200);
  });
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

export function metricsRoutes(app: HostApp, { keys, metrics }: HostServices): void {
  app.openapi(guardedRoute(METRICS, keys), async (c) => {
    const { text, contentType } = await metrics.render();
    return c.text(text, 200, { "Content-Type": contentType });
  });
}

/** The document describes all resources that `app` has at the time of the request. */
export function openApiRoutes(app: HostApp, { keys }: HostServices): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "key", KEY_SCHEME);
  // The header `Pare-Report` refers to the schema by its name. The registry accepts only schemas that were made after
  // the import of its library, so the schema is made again.
  app.openAPIRegistry.register(
    "Report",
    z.object(reportSchema.shape).meta({ description: REPORT_DESCRIPTION }),
  );
  app.openapi(
    guardedRoute(OPENAPI, keys),
    (c) => c.json(app.getOpenAPI31Document(documentOf("host")), 200),
  );
}
