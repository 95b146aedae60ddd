/** The type of the application that resources are mounted on. */

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { HostEnv } from "./host_env.ts";

/** Hono with an OpenAPI registry. */
export type HostApp = OpenAPIHono<HostEnv>;
