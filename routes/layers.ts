/** `POST /v1/layers`: prunes the layer in the body of the request. */

import type { Context } from "hono";
import type { DeviceSession } from "../src/host/device.ts";
import { UnsentAnswers } from "../src/host/transfers.ts";
import type { Loan } from "../src/layer/loan.ts";
import { handleLayer } from "../src/layer/handle_layer.ts";
import { readWholeAnswer } from "../src/layer/write_layer.ts";
import { reportHeaders, SAFETENSORS_TYPE } from "../src/protocol/headers.ts";
import { PRUNE_LAYER } from "../src/protocol/resources/layers.ts";
import { type ResolvedParameters, resolveParameters } from "../src/protocol/parameters.ts";
import { type AnswerSource, answerStream, streamOf } from "./answer_stream.ts";
import { type RequestBody, requestBody } from "./body.ts";
import type { HostApp, HostEnv } from "./host_app.ts";
import { guardedRoute } from "./middleware.ts";
import type { HostServices } from "../src/host/host_services.ts";

export function layerRoutes(app: HostApp, services: HostServices): void {
  const { device, keys } = services, unsent = new UnsentAnswers();
  app.openapi(guardedRoute(PRUNE_LAYER, keys), async (c) => {
    const query = c.req.valid("query");
    const parameters = resolveParameters(query);
    const body = requestBody(c, services);
    const session = device.session();
    try {
      return await pruneLayer(c, services, session, unsent, body, parameters);
    } catch (error) {
      throw device.handleFailure(error, session);
    }
  });
}

async function pruneLayer(
  c: Context<HostEnv>,
  services: HostServices,
  session: DeviceSession,
  unsent: UnsentAnswers,
  body: RequestBody,
  parameters: ResolvedParameters,
): Promise<Response> {
  const { backend, store, residentQueue, solveQueue } = session;
  const { clock, limits, metrics, device } = services;
  const { signal } = c.req.raw;
  const start = clock();
  // Frees everything in reverse order when the function returns or throws. A streamed answer takes over the resources.
  using cleanup = new DisposableStack();
  let loan: Loan | undefined;
  if (parameters.hessian !== undefined) {
    // A loan keeps the stored statistics from being freed until it is returned.
    loan = store.borrow(parameters.hessian);
    cleanup.defer(loan.return);
  }
  cleanup.defer(await residentQueue.acquire(signal));
  const answer = await handleLayer({ ...body, parameters, loan }, {
    backend,
    clock,
    start,
    tileEdge: limits.tileEdge,
    runSolve: (solve) => solveQueue.run(solve, signal),
  });
  cleanup.defer(answer.destroy);
  // The loan of the statistics ends before the answer is sent, because a slow client may take long to fetch it.
  loan?.return();
  const { report } = answer;
  const headers = {
    "Content-Type": SAFETENSORS_TYPE,
    "Content-Length": String(answer.byteLength),
    ...reportHeaders(report),
  };
  if (unsent.tryAdd(answer.byteLength, c.env?.sent)) {
    // The statement `using` frees the place on the device at the end of this block.
    const bytes = await readWholeAnswer(answer);
    metrics.countLayer(report, loan !== undefined);
    return c.body(streamOf(bytes), 200, headers);
  }
  metrics.countLayer(report, loan !== undefined);
  const resources = cleanup.move();
  const source: AnswerSource = {
    chunks: answer.chunks(),
    isPlaceWanted: () => residentQueue.waiting > 0,
    release: () => resources.dispose(),
    onError: (error) => void device.handleFailure(error, session),
  };
  const stream = answerStream(source, limits, clock);
  return c.body(stream, 200, headers);
}
