/**
 * The types of the edge's Hono application and of the values that middleware attaches to a request. The edge
 * is Pare's Cloudflare Worker in front of GPU hosts.
 */

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { EdgeBindings } from "./bindings.ts";

/** Hono's environment type of the edge. */
export interface EdgeEnv {
  Bindings: EdgeBindings;
  Variables: {
    requestId: string;
    /** Set if the edge itself has authorised the request, by a key with the scope or because `EDGE_OPEN` is set. */
    isAuthorized?: true;
    /** Identifies the client of an authorised request: the sha-256 of its key, or `open` if `EDGE_OPEN` is set and there are no keys. */
    client?: string;
  };
}

/** The edge's Hono application. It collects the OpenAPI descriptions of the resources that are mounted on it. */
export type EdgeApp = OpenAPIHono<EdgeEnv>;
