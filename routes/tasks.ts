/**
 * `/v1/tasks`: layers that an edge gives to this host, with operands and answer at signed URLs. The response is sent when the task is
 * done, or when the time in `Prefer: wait=` is over. The edge then repeats the request to ask for the result.
 */

import { createRoute, z } from "@hono/zod-openapi";
import { bodyLimit } from "hono/body-limit";
import { MAX_TASK_WAIT_SECONDS, taskAnswerSchema, taskRequestSchema } from "../src/protocol/jobs.ts";
import { Refusal } from "../src/protocol/refusal.ts";
import type { HostApp } from "./host_app.ts";
import type { EdgeLink } from "../src/host/edge_link.ts";
import { problemResponses } from "../src/protocol/problem_responses.ts";
import { BODY_CODES } from "./responses.ts";
import { BlobStore } from "../src/host/tasks/blob_store.ts";
import { runTask, type TaskTools } from "../src/host/tasks/run_task.ts";
import { TaskBook } from "../src/host/tasks/task_book.ts";
import { requireTicket } from "./middleware/ticket_auth.ts";

/** A task has three signed URLs of less than 2 KiB each. */
const MAX_TASK_BYTES = 64 * 2 ** 10;

const security = [{ ticket: [] }];
const answer = { content: { "application/json": { schema: taskAnswerSchema } } };

const ask = createRoute({
  method: "post",
  path: "/v1/tasks",
  summary: "Solve a layer whose tensors are blobs (for edges)",
  security,
  request: {
    headers: z.object({
      prefer: z.string().optional().meta({ description: `wait=SECONDS, up to ${MAX_TASK_WAIT_SECONDS}` }),
    }),
    body: { required: true, content: { "application/json": { schema: taskRequestSchema } } },
  },
  responses: {
    200: { description: "The task is done", ...answer },
    202: { description: "The task is still running. Repeat the request", ...answer },
    ...problemResponses([
      ...BODY_CODES,
      "digest_mismatch",
      "not_positive_definite",
      "unsupported",
      "blob_unavailable",
    ]),
  },
});

const cancel = createRoute({
  method: "delete",
  path: "/v1/tasks/{id}",
  summary: "Cancel a task",
  security,
  request: { params: z.object({ id: z.string() }) },
  responses: {
    204: { description: "The task is cancelled, or did not exist" },
    ...problemResponses(["unauthorized"]),
  },
});

/** Mounts the resource. `host` is the application that solves the layers, without keys. */
export function taskRoutes(app: HostApp, link: EdgeLink, host: TaskTools["host"]): void {
  const book = link.tasks ?? new TaskBook(),
    tools: TaskTools = { blobs: new BlobStore(link.blobOrigins), host };
  app.openAPIRegistry.registerComponent("securitySchemes", "ticket", {
    type: "apiKey",
    in: "header",
    name: "Authorization",
  });
  app.use(
    "/v1/tasks/*",
    bodyLimit({
      maxSize: MAX_TASK_BYTES,
      onError: () => {
        throw new Refusal("too_large", `a task may have at most ${MAX_TASK_BYTES} bytes`, {
          members: { limit: MAX_TASK_BYTES },
        });
      },
    }),
  );
  app.use("/v1/tasks/*", requireTicket(link.secret, link.hostId, Date.now));

  app.openapi(ask, async (c) => {
    const task = c.req.valid("json");
    const wait = waitSeconds(c.req.valid("header").prefer);
    const done = await book.ask(task.id, (signal) => runTask(task, tools, signal), wait * 1000);
    return done ? c.json(done, 200) : c.json({ state: "running" as const }, 202);
  });

  app.openapi(cancel, (c) => {
    book.cancel(c.req.valid("param").id);
    return c.body(null, 204);
  });
}

/** Parses `wait=N` (RFC 7240). As the RFC requires, other preferences are ignored. */
function waitSeconds(prefer: string | undefined): number {
  const [, seconds] = /(?:^|[,;\s])wait=(\d{1,4})\b/.exec(prefer ?? "") ?? [];
  return Math.min(Number(seconds ?? 0), MAX_TASK_WAIT_SECONDS);
}
