/** `POST /v1/layers`: receives one layer and answers with the pruned layer. */

import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { DeviceSession } from "../src/host/device.ts";
import type { Loan } from "../src/layer/loan.ts";
import { handleLayer } from "../src/layer/handle_layer.ts";
import { SAFETENSORS_TYPE } from "../src/protocol/media_type.ts";
import { layerQuerySchema, resolveParameters, type SupportedParameters } from "../src/protocol/parameters.ts";
import { answerStream } from "./answer_stream.ts";
import { type RequestBody, requestBody } from "./body.ts";
import type { HostApp } from "./host_app.ts";
import type { HostEnv, Services } from "./host_env.ts";
import { reportHeaders } from "../src/protocol/report_headers.ts";
import { problemResponses } from "../src/protocol/problem_responses.ts";
import { BODY_CODES, SAFETENSORS_BODY } from "./responses.ts";

const route = createRoute({
  method: "post",
  path: "/v1/layers",
  summary: "Prune one layer",
  description:
    "The request has the tensor `weight`, one of `hessian`, `hessian_upper` and `inputs` unless `?hessian=` names stored statistics, " +
    "and optionally `mask`. The answer has `weight` and `mask`, and the report in its metadata.",
  security: [{ key: [] }],
  request: { query: layerQuerySchema, body: SAFETENSORS_BODY },
  responses: {
    200: {
      description: "The pruned layer, a safetensors file",
      headers: {
        "Pare-Report": { description: "The report, as JSON", schema: { type: "string" } },
        "Server-Timing": { description: "The phases, in milliseconds", schema: { type: "string" } },
      },
      content: SAFETENSORS_BODY.content,
    },
    ...problemResponses([...BODY_CODES, "hessian_not_found", "not_positive_definite", "unsupported"]),
  },
});

/** Mounts the resource. */
export function layerRoutes(app: HostApp, services: Services): void {
  const { device, limits } = services;
  app.openapi(route, async (c) => {
    const query = c.req.valid("query");
    const parameters = resolveParameters(query);
    const body = requestBody(c, limits);
    const session = device.session();
    try {
      return await pruneLayer(c, services, session, body, parameters);
    } catch (error) {
      throw device.handleFailure(error, session);
    }
  });
}

async function pruneLayer(
  c: Context<HostEnv>,
  services: Services,
  session: DeviceSession,
  body: RequestBody,
  parameters: SupportedParameters,
): Promise<Response> {
  const { backend, store, residence, solves } = session;
  const { clock, limits, metrics, device } = services;
  const { signal } = c.req.raw;
  const start = clock();
  // Frees in reverse order: at once if anything below throws, else when the answer has ended.
  using held = new DisposableStack();
  let loan: Loan | undefined;
  if (parameters.hessian !== undefined) {
    loan = store.borrow(parameters.hessian);
    held.defer(loan.return);
  }
  held.defer(await residence.enter(signal));
  const answer = await handleLayer({ ...body, parameters, loan }, {
    backend,
    clock,
    start,
    tileEdge: limits.tileEdge,
    runSolve: (solve) => solves.run(solve, signal),
  });
  held.defer(answer.destroy);
  // The answer needs no statistics, and a slow client may take a while to fetch it.
  loan?.return();
  const { report } = answer;
  metrics.solved(report, loan !== undefined);
  const resources = held.move();
  const stream = answerStream(answer.chunks(), limits.idleMilliseconds, {
    release: () => resources.dispose(),
    failed: (error) => void device.handleFailure(error, session),
  });
  return c.body(stream, 200, {
    "Content-Type": SAFETENSORS_TYPE,
    "Content-Length": String(answer.byteLength),
    ...reportHeaders(report),
  });
}
