/** The types of the edge's application and of what a request carries through it. */

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { EdgeBindings } from "./bindings.ts";

/** Hono's types for the edge. */
export interface EdgeEnv {
  Bindings: EdgeBindings;
  Variables: { requestId: string };
}

/** Hono with an OpenAPI registry. */
export type EdgeApp = OpenAPIHono<EdgeEnv>;
