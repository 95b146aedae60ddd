/** The types of the edge's Hono application and of the variables of a request. */

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { EdgeBindings } from "./bindings.ts";

/** Hono's environment type of the edge. */
export interface EdgeEnv {
  Bindings: EdgeBindings;
  Variables: {
    requestId: string;
    /** Whether the edge itself has authorised the request, by a key with the scope or because `EDGE_OPEN` is set. */
    isAuthorized?: true;
  };
}

/** A Hono application that collects an OpenAPI description. */
export type EdgeApp = OpenAPIHono<EdgeEnv>;
