/** `GET /metrics`: the host's counters and gauges as Prometheus text. */

import { createRoute } from "@hono/zod-openapi";
import type { HostMetrics } from "../src/host/metrics.ts";
import { routeConfig } from "../src/protocol/resources/operation.ts";
import { METRICS } from "../src/protocol/resources/server.ts";
import type { HostApp } from "./host_app.ts";

/** Adds the resource to the application. */
export function metricsRoutes(app: HostApp, metrics: HostMetrics): void {
  app.openapi(createRoute(routeConfig(METRICS)), async (c) => {
    const { text, contentType } = await metrics.render();
    return c.text(text, 200, { "Content-Type": contentType });
  });
}
