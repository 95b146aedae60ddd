/** The type of a host's Hono application. */

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { HostEnv } from "./host_env.ts";

/** A Hono application that collects an OpenAPI description. */
export type HostApp = OpenAPIHono<HostEnv>;
