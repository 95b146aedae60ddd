/** `POST /v1/layers`: prunes the layer in the body of the request. */

import type { HostServices } from "../src/host/host_services.ts";
import { UnsentAnswers } from "../src/host/transfers.ts";
import { handleLayer } from "../src/layer/handle_layer.ts";
import { readWholeAnswer } from "../src/layer/write_layer.ts";
import { reportHeaders, SAFETENSORS_TYPE } from "../src/protocol/headers.ts";
import { resolveParameters } from "../src/protocol/parameters.ts";
import { PRUNE_LAYER } from "../src/protocol/resources/layers.ts";
import { answerStream } from "./answer_stream.ts";
import { requestBody } from "./body.ts";
import type { HostApp } from "./host_app.ts";
import { guardedRoute } from "./middleware.ts";

export function layerRoutes(app: HostApp, services: HostServices): void {
  const { device, keys, clock, limits, metrics } = services, unsent = new UnsentAnswers();
  app.openapi(guardedRoute(PRUNE_LAYER, keys), async (c) => {
    const parameters = resolveParameters(c.req.valid("query"));
    const body = requestBody(c, services);
    const session = device.session(), start = clock(), { signal } = c.req.raw;
    const { backend, store, residentQueue, solveQueue } = session;
    // Frees everything in reverse order when the function returns or throws. A streamed answer takes over the resources.
    using cleanup = new DisposableStack();
    try {
      // A loan keeps the stored statistics from being freed until it is returned.
      const loan = parameters.hessian === undefined ? undefined : store.borrow(parameters.hessian);
      if (loan) cleanup.defer(loan.return);
      cleanup.defer(await residentQueue.acquire(signal));
      const takeTurn = () => solveQueue.acquire(signal);
      const options = { backend, clock, start, tileEdge: limits.tileEdge, takeTurn };
      const answer = await handleLayer({ ...body, parameters, loan }, options);
      cleanup.defer(answer.destroy);
      // The loan of the statistics ends before the answer is sent, because a slow client may take long to fetch it.
      loan?.return();
      const { report, byteLength } = answer;
      const headers = {
        "Content-Type": SAFETENSORS_TYPE,
        "Content-Length": String(byteLength),
        ...reportHeaders(report),
      };
      if (unsent.tryAdd(byteLength, c.env?.sent)) {
        // The statement `using` frees the place on the device at the end of this block.
        const bytes = await readWholeAnswer(answer);
        metrics.countLayer(report, loan !== undefined);
        return c.body(streamOf(bytes), 200, headers);
      }
      metrics.countLayer(report, loan !== undefined);
      const resources = cleanup.move();
      const source = {
        chunks: answer.chunks(),
        isPlaceWanted: () => residentQueue.waiting > 0,
        release: () => resources.dispose(),
        onError: (error: unknown) => void device.handleFailure(error, session),
      };
      return c.body(answerStream(source, limits, clock), 200, headers);
    } catch (error) {
      throw device.handleFailure(error, session);
    }
  });
}

/**
 * Returns a stream of `bytes` in one piece. Deno reports such an answer as sent when the client has taken nearly all
 * bytes. An answer that is an array would be reported as soon as the array is queued.
 */
function streamOf(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(bytes);
      controller.close();
    },
  });
}
