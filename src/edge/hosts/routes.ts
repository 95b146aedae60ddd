/** `/v1/hosts`: GPU hosts tell of themselves, with tickets of the shared secret; operators see who is alive. */

import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { hostIdSchema, hostStateSchema } from "../../protocol/jobs.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { EDGE_AUDIENCE, type Nonces, verifyTicket } from "../../protocol/tickets.ts";
import { requireKey } from "../auth.ts";
import type { EdgeApp, EdgeEnv } from "../edge_env.ts";
import { bodyLength } from "../pass_on.ts";
import { problemResponses } from "../../protocol/problem_responses.ts";
import { hostsOf } from "./hosts_object.ts";
import { secretOf } from "./secret.ts";

const PATH = "/v1/hosts/{id}";
const params = z.object({ id: hostIdSchema });
const security = [{ ticket: [] }];

/** 256 digests and a few names. */
const MAX_STATE_BYTES = 64 * 2 ** 10;

const put = createRoute({
  method: "put",
  path: PATH,
  summary: "A host tells that it is there",
  security,
  request: { params, body: { required: true, content: { "application/json": { schema: hostStateSchema } } } },
  responses: {
    204: { description: "It is known" },
    ...problemResponses(["invalid_parameter", "unauthorized", "length_required", "too_large", "unsupported"]),
  },
});

const leave = createRoute({
  method: "delete",
  path: PATH,
  summary: "A host leaves",
  security,
  request: { params },
  responses: {
    204: { description: "It is not known" },
    ...problemResponses(["unauthorized", "unsupported"]),
  },
});

const knownSchema = hostStateSchema.extend({ id: hostIdSchema, seen: z.int() }).meta({ id: "Host" });
const list = createRoute({
  method: "get",
  path: "/v1/hosts",
  summary: "The hosts that are alive",
  security: [{ key: [] }],
  responses: {
    200: {
      description: "Those that told of themselves in the last half minute",
      content: { "application/json": { schema: z.object({ hosts: z.array(knownSchema) }) } },
    },
    ...problemResponses(["unauthorized", "forbidden", "unsupported", "busy"]),
  },
});

/** Mounts the resource. */
export function hostRoutes(app: EdgeApp): void {
  app.use("/v1/hosts", requireKey("metrics"));
  app.use("/v1/hosts/:id", async (c, next) => {
    await checkTicket(c);
    await next();
  });

  app.openapi(put, async (c) => {
    await hostsOf(c.env).beat(c.req.valid("param").id, c.req.valid("json"));
    return c.body(null, 204);
  });
  app.openapi(leave, async (c) => {
    await hostsOf(c.env).leave(c.req.valid("param").id);
    return c.body(null, 204);
  });
  app.openapi(list, async (c) => c.json({ hosts: await hostsOf(c.env).alive() }, 200));
}

/** @throws {Refusal} unauthorized, length_required, too_large, unsupported */
async function checkTicket(c: Context<EdgeEnv>): Promise<void> {
  const secret = secretOf(c.env), length = bodyLength(c);
  if (length > MAX_STATE_BYTES) {
    throw new Refusal(
      "too_large",
      `a host's state of ${length} bytes is over the limit of ${MAX_STATE_BYTES}`,
      {
        members: { limit: MAX_STATE_BYTES },
      },
    );
  }
  const body = new Uint8Array(await c.req.arrayBuffer());
  const subject = { audience: EDGE_AUDIENCE, method: c.req.method, path: c.req.path, body };
  const nonces = { remember: (...nonce: Parameters<Nonces["remember"]>) => hostsOf(c.env).take(...nonce) };
  await verifyTicket(secret, c.req.header("Authorization"), subject, Date.now(), nonces);
}
