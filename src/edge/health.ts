/**
 * `GET /healthz` and `/readyz` at the edge, which is Pare's Cloudflare Worker in front of GPU hosts. An edge
 * with a host forwards both requests. An edge without a host describes the Worker itself, which may be able
 * to solve small layers.
 */

import { MAX_BLOCKSIZE } from "../protocol/limits.ts";
import type { Ready } from "../protocol/ready.ts";
import { VERSION } from "../protocol/version.ts";
import type { EdgeApp } from "./edge_env.ts";
import { proxyToHost } from "./proxy.ts";
import { MAX_SMALL_BYTES, MAX_SMALL_FEATURES } from "./small_limits.ts";

/** Mounts both resources. */
export function edgeHealthRoutes(app: EdgeApp): void {
  app.get("/healthz", (c) => c.env.EDGE_HOST ? proxyToHost(c) : c.json({ status: "up" }));
  app.get("/readyz", (c) => {
    if (c.env.EDGE_HOST || c.env.EDGE_SOLVE !== "true") return proxyToHost(c);
    const ready: Ready = {
      status: "ready",
      version: VERSION,
      backend: "cpu",
      adapter: { name: "WebAssembly SIMD, on the calling thread", software: false },
      limits: {
        max_body_bytes: MAX_SMALL_BYTES,
        max_features: MAX_SMALL_FEATURES,
        max_blocksize: MAX_BLOCKSIZE,
        max_buffer_bytes: MAX_SMALL_BYTES,
      },
      queue: { waiting: 0, resident: 0 },
    };
    return c.json(ready);
  });
}
