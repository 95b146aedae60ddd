/**
 * `GET /openapi.json` at the edge. It describes the edge's own resources, generated from the schemas that enforce them, and those of the
 * host, as the host describes them at this moment.
 */

import { VERSION } from "../protocol/version.ts";
import type { EdgeApp } from "./edge_env.ts";

/** The parts of an OpenAPI document that are merged. */
interface Document {
  readonly paths?: Readonly<Record<string, unknown>>;
  readonly components?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Mounts the resource. It describes everything that is mounted on `app` when it is requested. */
export function edgeOpenApiRoutes(app: EdgeApp): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "key", { type: "http", scheme: "bearer" });
  app.get("/openapi.json", async (c) => {
    const own = app.getOpenAPI31Document({
      openapi: "3.1.0",
      info: {
        title: "Pare",
        version: VERSION,
        description: "One-shot pruning of large language models: the edge in front of GPU hosts.",
      },
    });
    const theirs = c.env.EDGE_HOST ? await documentOf(c.env.EDGE_HOST) : {};
    return c.json({
      ...own,
      paths: { ...theirs.paths, ...own.paths },
      components: mergeGroups(theirs.components, own.components as Document["components"]),
    });
  });
}

/** Fetches the host's document. If the host does not answer, the edge's own description is served alone. */
async function documentOf(host: string): Promise<Document> {
  try {
    const response = await fetch(new URL("/openapi.json", host));
    return response.ok ? await response.json() as Document : {};
  } catch {
    return {};
  }
}

function mergeGroups(
  first: Document["components"] = {},
  second: Document["components"] = {},
): Document["components"] {
  const groups = new Set([...Object.keys(first), ...Object.keys(second)]);
  return Object.fromEntries([...groups].map((group) => [group, { ...first[group], ...second[group] }]));
}
