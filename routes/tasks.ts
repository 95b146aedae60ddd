/**
 * `/v1/tasks`: layers and blocks that an edge gives to this host. The host reads the tensors of a task from signed URLs,
 * prunes them, and writes the result to a signed URL. The request is answered as soon as the task is done, or when the
 * seconds in `Prefer: wait=SECONDS` are over. In the second case, the edge repeats the request. Every request needs a
 * ticket (`src/protocol/tickets.ts`).
 */

import { createRoute, z } from "@hono/zod-openapi";
import { bodyLimit } from "hono/body-limit";
import {
  MAX_TASK_WAIT_SECONDS,
  taskAnswerSchema,
  taskRequestSchema,
} from "../src/protocol/resources/tasks.ts";
import { json } from "../src/protocol/resources/operation.ts";
import { Refusal } from "../src/protocol/refusal.ts";
import type { HostApp } from "./host_app.ts";
import type { HostServices } from "../src/host/host_services.ts";
import type { EdgeLink } from "../src/host/edge_options.ts";
import { BlobStore } from "../src/host/tasks/blob_store.ts";
import { runTask } from "../src/host/tasks/run_task.ts";
import type { TaskContext } from "../src/host/tasks/task_context.ts";
import { TaskRegistry } from "../src/host/tasks/task_registry.ts";
import { requireTicket } from "./middleware.ts";

/** The largest request in bytes. A task has a few URLs, each with less than 2 KiB. */
const MAX_TASK_BYTES = 64 * 2 ** 10;

const answer = { content: json(taskAnswerSchema) };

// The OpenAPI document leaves both routes out, because only edges can use them.
const submit = createRoute({
  method: "post",
  path: "/v1/tasks",
  hide: true,
  request: {
    headers: z.object({ prefer: z.string().optional() }),
    body: { required: true, content: json(taskRequestSchema) },
  },
  responses: {
    200: { description: "The task is done", ...answer },
    202: { description: "The task is still running. Repeat the request", ...answer },
  },
});

const cancel = createRoute({
  method: "delete",
  path: "/v1/tasks/{id}",
  hide: true,
  request: { params: z.object({ id: z.string() }) },
  responses: { 204: { description: "The task is cancelled, or did not exist" } },
});

/** @param host the application that prunes. It must accept requests without an API key, and act for `TASK_OWNER` */
export function taskRoutes(
  app: HostApp,
  link: EdgeLink,
  { device, limits: { bodyWindowMilliseconds } }: HostServices,
  host: TaskContext["host"],
): void {
  const tasks = link.tasks ?? new TaskRegistry();
  const context: TaskContext = {
    blobs: new BlobStore(link.blobOrigins),
    host,
    states: () => device.session().states,
  };
  app.use(
    "/v1/tasks/*",
    bodyLimit({
      maxSize: MAX_TASK_BYTES,
      onError: () => {
        throw new Refusal("too_large", `the body of the task has more than ${MAX_TASK_BYTES} bytes`, {
          members: { limit: MAX_TASK_BYTES },
        });
      },
    }),
  );
  app.use("/v1/tasks/*", requireTicket(link.secret, link.hostId, bodyWindowMilliseconds, Date.now));

  app.openapi(submit, async (c) => {
    const task = c.req.valid("json");
    const wait = waitSeconds(c.req.valid("header").prefer);
    const finished = await tasks.outcomeWithin(
      wait * 1000,
      task.id,
      (signal) => runTask(task, context, signal),
    );
    return finished ? c.json(finished, 200) : c.json({ state: "running" as const }, 202);
  });

  app.openapi(cancel, (c) => {
    tasks.cancel(c.req.valid("param").id);
    return c.body(null, 204);
  });
}

/** Returns the seconds in `wait=SECONDS` of a Prefer header (RFC 7240), or 0. The RFC says to ignore all others. */
function waitSeconds(prefer: string | undefined): number {
  const [, seconds] = /(?:^|[,;\s])wait=(\d{1,4})\b/.exec(prefer ?? "") ?? [];
  return Math.min(Number(seconds ?? 0), MAX_TASK_WAIT_SECONDS);
}
