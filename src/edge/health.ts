/**
 * `GET /healthz` and `/readyz` of an edge without a host of its own: the Worker is up, and ready for the layers that it solves itself.
 * With a host both are the host's.
 */

import { MAX_BLOCKSIZE } from "../protocol/limits.ts";
import { VERSION } from "../protocol/version.ts";
import type { EdgeApp } from "./edge_env.ts";
import { passOn } from "./pass_on.ts";
import { MAX_SMALL_BYTES, MAX_SMALL_FEATURES } from "./small_limits.ts";

/** Mounts both. */
export function healthRoutes(app: EdgeApp): void {
  app.get("/healthz", (c) => c.env.PARE_HOST ? passOn(c) : c.json({ status: "up" }));
  app.get("/readyz", (c) => {
    if (c.env.PARE_HOST || c.env.EDGE_SOLVE !== "true") return passOn(c);
    return c.json({
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
    });
  });
}
