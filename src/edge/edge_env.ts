/** The types of the edge's application and of what a request carries through it. */

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { EdgeBindings } from "./bindings.ts";

/** Hono's types for the edge. */
export interface EdgeEnv {
  Bindings: EdgeBindings;
  Variables: {
    requestId: string;
    /** The edge itself has let the request in: by a key that has the scope, or because it is open to everyone. */
    admitted?: true;
  };
}

/** Hono with an OpenAPI registry. */
export type EdgeApp = OpenAPIHono<EdgeEnv>;
