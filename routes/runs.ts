/** `/v1/runs`: prunes and rounds whole models at a host that was started with a folder for runs. */

import type { Context } from "hono";
import { bodyLimit } from "hono/body-limit";
import { streamSSE } from "hono/streaming";
import { settlesWithin } from "../src/base/waiting.ts";
import type { HostServices } from "../src/host/host_services.ts";
import type { Runs } from "../src/host/runs/runs.ts";
import { Refusal, tooLarge } from "../src/protocol/refusal.ts";
import {
  DELETE_RUN,
  FOLLOW_RUN,
  MAX_RUN_BYTES,
  READ_RUN,
  READ_RUN_FILE,
  type RunRequest,
  START_RUN,
} from "../src/protocol/resources/runs.ts";
import { answerStream } from "./answer_stream.ts";
import type { HostApp, HostEnv } from "./host_app.ts";
import { guardedRoute } from "./middleware.ts";

/** The longest time between two writes to a stream of events, because proxies close idle connections. */
const KEEP_ALIVE_MILLISECONDS = 15_000;

/** The bytes of a file that are read at once. */
const CHUNK_BYTES = 2 ** 20;

export function runRoutes(app: HostApp, services: HostServices): void {
  const { keys, limits, clock } = services;

  app.use("/v1/runs", async (c, next) => {
    if (c.req.method === "POST") requireJson(c);
    await next();
  });
  app.use(
    "/v1/runs",
    bodyLimit({
      maxSize: MAX_RUN_BYTES,
      onError: (c) => {
        throw tooLarge(
          "the body",
          Number(c.req.header("Content-Length") ?? MAX_RUN_BYTES + 1),
          MAX_RUN_BYTES,
        );
      },
    }),
  );

  app.openapi(guardedRoute(START_RUN, keys), async (c) => {
    const request = c.req.valid("json") as RunRequest, key = c.req.valid("header")["idempotency-key"];
    const run = await requireRuns(services).submit(c.get("owner"), request, key);
    return c.json(run, 202, { Location: `/v1/runs/${run.id}` });
  });

  app.openapi(guardedRoute(READ_RUN, keys), (c) => {
    const run = requireRuns(services).read(c.get("owner"), c.req.valid("param").id);
    return c.json(run, 200, { "Cache-Control": "no-store" });
  });

  app.openapi(guardedRoute(FOLLOW_RUN, keys), (c) => {
    const changes = requireRuns(services).follow(c.get("owner"), c.req.valid("param").id);
    return streamSSE(c, async (stream) => {
      stream.onAbort(() => void changes.return());
      for (let next = changes.next();;) {
        if (!await settlesWithin(next, KEEP_ALIVE_MILLISECONDS)) {
          // A line that begins with a colon is a comment, which clients ignore. A client that takes nothing is left.
          if (!await settlesWithin(stream.write(": still there\n\n"), KEEP_ALIVE_MILLISECONDS)) return;
        } else {
          const { done, value } = await next;
          if (done || stream.aborted) return;
          const sent = stream.writeSSE({ event: "run", data: JSON.stringify(value) });
          if (!await settlesWithin(sent, KEEP_ALIVE_MILLISECONDS)) return;
          next = changes.next();
        }
      }
    });
  });

  app.openapi(guardedRoute(READ_RUN_FILE, keys), async (c) => {
    const { id, name } = c.req.valid("param"), runs = requireRuns(services);
    const file = await runs.openFile(c.get("owner"), id, name);
    const { start, end, isPart } = rangeOf(c.req.valid("header").range, file.byteLength);
    const source = {
      chunks: (async function* () {
        for (let at = start; at < end; at += CHUNK_BYTES) {
          yield await file.read(at, Math.min(CHUNK_BYTES, end - at));
        }
      })(),
      isPlaceWanted: () => false,
      release: () => void file.close(),
      onError: () => {},
    };
    const headers = {
      "Content-Type": "application/octet-stream",
      "Content-Disposition": `attachment; filename="${name.replaceAll(/[^\w.-]/g, "_")}"`,
      "Content-Length": String(end - start),
      "Accept-Ranges": "bytes",
    };
    const body = answerStream(source, limits, clock);
    if (!isPart) return c.body(body, 200, headers);
    return c.body(body, 206, {
      ...headers,
      "Content-Range": `bytes ${start}-${end - 1}/${file.byteLength}`,
    });
  });

  app.openapi(guardedRoute(DELETE_RUN, keys), async (c) => {
    await requireRuns(services).delete(c.get("owner"), c.req.valid("param").id);
    return c.body(null, 204);
  });
}

function requireRuns({ runs }: HostServices): Runs {
  if (runs) return runs;
  throw new Refusal("not_found", "this host prunes no whole models: start it with pare serve --runs FOLDER");
}

/** A page of another origin can send a text without being asked, but not JSON. */
function requireJson(c: Context<HostEnv>): void {
  if (/^application\/json *(;|$)/i.test(c.req.header("Content-Type") ?? "")) return;
  throw new Refusal("unsupported_media_type", "the Content-Type of the body must be application/json");
}

/** Returns the bytes that a header Range wants. A header in another form, or outside of the file, is ignored. */
function rangeOf(header: string | undefined, byteLength: number) {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(header ?? "") ?? [];
  const start = Number(first ?? NaN), end = Math.min(last ? Number(last) + 1 : byteLength, byteLength);
  return start < end ? { start, end, isPart: true } : { start: 0, end: byteLength, isPart: false };
}
