/**
 * `GET /openapi.json` of the edge: its own resources from the schemas that enforce them, and those of the host that it
 * passes on, as that host describes them now. Without a host the edge's own are all there is.
 */

import { VERSION } from "../protocol/version.ts";
import type { EdgeApp } from "./edge_env.ts";

/** An OpenAPI document, as far as it is merged. */
interface Document {
  readonly paths?: Readonly<Record<string, unknown>>;
  readonly components?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Mounts the resource; it describes what is mounted on `app` by the time it is asked. */
export function openApiRoutes(app: EdgeApp): void {
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
    const theirs = c.env.PARE_HOST ? await documentOf(c.env.PARE_HOST) : {};
    return c.json({
      ...own,
      paths: { ...theirs.paths, ...own.paths },
      components: mergeGroups(theirs.components, own.components as Document["components"]),
    });
  });
}

/** A host that does not answer does not take the edge's own description with it. */
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
