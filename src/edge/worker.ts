/**
 * The Cloudflare Worker: passes every request of the contract on to one GPU host, bodies as the untouched stream
 * they arrive as. It enforces the plan's body limit and names the host when that cannot be reached; keys, validation and the
 * solve are the host's.
 */

import { Hono } from "hono";
import { proxy } from "hono/proxy";
import { requestId } from "hono/request-id";
import { DEFAULT_EDGE_BODY_BYTES } from "../protocol/limits.ts";
import { makeProblem, type ProblemCode, type ProblemMembers, PROBLEMS } from "../protocol/problem.ts";

/** What `wrangler.toml` gives the Worker. */
export interface EdgeBindings {
  /** The GPU host's origin. */
  readonly PARE_HOST: string;
  /** Largest body passed on, in bytes. */
  readonly EDGE_BODY_BYTES?: string;
}

const edge = new Hono<{ Bindings: EdgeBindings; Variables: { requestId: string } }>();

edge.use(requestId());

edge.all("*", async (c) => {
  const id = c.get("requestId");
  const limit = Number(c.env.EDGE_BODY_BYTES ?? DEFAULT_EDGE_BODY_BYTES);
  if (c.req.raw.body) {
    const length = Number(c.req.header("Content-Length") ?? NaN);
    if (!Number.isSafeInteger(length)) return problem("length_required", "a body needs a Content-Length", id);
    if (length > limit) {
      const detail = `the body has ${length} bytes; this edge passes on at most ${limit}`;
      return problem("too_large", detail, id, { limit });
    }
  }
  const url = new URL(c.req.url);
  const target = new URL(url.pathname + url.search, c.env.PARE_HOST);
  try {
    return await proxy(target, { raw: c.req.raw, headers: { ...c.req.header(), "X-Request-Id": id } });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return problem("no_device", `the GPU host ${target.origin} cannot be reached: ${reason}`, id);
  }
});

function problem(code: ProblemCode, detail: string, id: string, members: ProblemMembers = {}): Response {
  const headers = new Headers({ "Content-Type": "application/problem+json", "X-Request-Id": id });
  if (code === "no_device") headers.set("Retry-After", "5");
  return Response.json(makeProblem(code, detail, id, members), { status: PROBLEMS[code].status, headers });
}

export default edge;
