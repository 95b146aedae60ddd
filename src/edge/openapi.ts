/**
 * `GET /openapi.json` at the edge, which is Pare's Cloudflare Worker in front of GPU hosts. The document
 * combines two descriptions. The description of the edge's own resources is generated from the schemas that
 * validate their requests. The description of the forwarded resources is fetched from the host for each
 * request.
 */

import { KEY_SCHEME } from "../protocol/openapi.ts";
import { VERSION } from "../protocol/version.ts";
import type { EdgeApp } from "./edge_env.ts";

/** The parts of an OpenAPI document that are combined. */
interface OpenApiDocument {
  readonly paths?: Readonly<Record<string, unknown>>;
  readonly components?: Components;
}

/** Descriptions by kind (such as "schemas") and name. */
type Components = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Mounts the resource. It describes everything that is mounted on `app` when it is requested. */
export function edgeOpenApiRoutes(app: EdgeApp): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "key", KEY_SCHEME);
  app.get("/openapi.json", async (c) => {
    const edgeDocument = app.getOpenAPI31Document({
      openapi: "3.1.0",
      info: {
        title: "Pare",
        version: VERSION,
        description: "One-shot pruning of large language models: the edge in front of GPU hosts.",
      },
    });
    const hostDocument = c.env.EDGE_HOST ? await fetchHostDocument(c.env.EDGE_HOST) : {};
    return c.json({
      ...edgeDocument,
      paths: { ...hostDocument.paths, ...edgeDocument.paths },
      components: mergeComponents(hostDocument.components, edgeDocument.components as Components | undefined),
    });
  });
}

/** Fetches the host's document. Returns an empty one if the host does not answer, so that the edge's resources are described anyway. */
async function fetchHostDocument(host: string): Promise<OpenApiDocument> {
  try {
    const response = await fetch(new URL("/openapi.json", host));
    return response.ok ? await response.json() as OpenApiDocument : {};
  } catch {
    return {};
  }
}

/**
 * Merges the components of two documents. If both have a component of the same kind and name, the component
 * of `second` wins.
 */
function mergeComponents(first: Components = {}, second: Components = {}): Components {
  const kinds = new Set([...Object.keys(first), ...Object.keys(second)]);
  return Object.fromEntries([...kinds].map((kind) => [kind, { ...first[kind], ...second[kind] }]));
}
