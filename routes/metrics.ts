/** `GET /metrics`: the host's counters and gauges as Prometheus text. */

import type { HostMetrics } from "../src/host/metrics.ts";
import type { HostApp } from "./host_app.ts";

/** Adds the resource to the application. */
export function metricsRoutes(app: HostApp, metrics: HostMetrics): void {
  app.openAPIRegistry.registerPath({
    method: "get",
    path: "/metrics",
    responses: {
      200: { description: "Prometheus text", content: { "text/plain": { schema: { type: "string" } } } },
    },
  });
  app.get("/metrics", async (c) => {
    const { text, contentType } = await metrics.render();
    return c.body(text, 200, { "Content-Type": contentType });
  });
}
