/**
 * `POST /v1/layers` and `/v1/hessians` at the edge: passed on to the host, except that small layers may be solved here. The contract of
 * both is the host's; its description here is what an edge without a host still serves.
 */

import { invalidParameters } from "../protocol/invalid_parameters.ts";
import { layerQuerySchema } from "../protocol/parameters.ts";
import { SAFETENSORS_TYPE } from "../protocol/media_type.ts";
import { Refusal } from "../protocol/refusal.ts";
import { requireKey } from "./auth.ts";
import type { EdgeApp } from "./edge_env.ts";
import { passOn } from "./pass_on.ts";
import { problemResponses } from "../protocol/problem_responses.ts";
import type { LayerHandler } from "./small_layers.ts";

const FILE = { [SAFETENSORS_TYPE]: { schema: { type: "string", format: "binary" } } } as const;

/** Mounts the resources. */
export function layerRoutes(app: EdgeApp, smallLayers: LayerHandler | undefined): void {
  app.openAPIRegistry.registerPath({
    method: "post",
    path: "/v1/layers",
    summary: "Prune one layer",
    security: [{ key: [] }],
    request: { query: layerQuerySchema, body: { required: true, content: FILE } },
    responses: {
      200: { description: "The pruned layer, a safetensors file", content: FILE },
      ...problemResponses(["unauthorized", "forbidden", "length_required", "too_large", "busy", "no_device"]),
    },
  });
  app.use("/v1/layers", (c, next) => {
    // What is solved here no host judges.
    const solvesHere = smallLayers && c.env.EDGE_SOLVE === "true";
    return requireKey("solve", solvesHere ? "refuse" : "host judges")(c, next);
  });
  app.post("/v1/layers", async (c) => {
    // Before the body: what no host would take is not sent to one.
    const query = layerQuerySchema.safeParse(c.req.query());
    if (!query.success) throw invalidParameters(query.error);
    return await (smallLayers && c.env.EDGE_SOLVE === "true" ? smallLayers(c, query.data) : passOn(c));
  });

  app.use("/v1/hessians/*", requireKey("hessians", "host judges"));
  app.put("/v1/hessians/*", async (c) => {
    if (c.env.PARE_HOST || c.env.EDGE_SOLVE !== "true") return await passOn(c);
    // The code of a host whose store is too small: clients then send statistics with each layer.
    throw new Refusal("too_large", "this edge keeps no statistics: send them with the layer", {
      members: { limit: 0 },
    });
  });
}
