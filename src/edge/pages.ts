/**
 * Serves the pages of the edge: `/`, `/playground`, `/jobs`, `/docs`, and the files that they load. The edge does not
 * forward requests for them, because its pages differ from the pages of a host. Only the script of Scalar, which shows
 * the contract at `/docs`, comes from the host.
 */

import type { Context } from "hono";
import { settlesWithin } from "../base/waiting.ts";
import { docsHtml } from "../pages/docs.tsx";
import { homeHtml, type HomeState, homeText } from "../pages/home.tsx";
import { jobsHtml } from "../pages/jobs.tsx";
import type { ServerFacts } from "../pages/layout.tsx";
import { answerFile, type PageFiles } from "../pages/page_files.ts";
import { docsHeaders, pageHeaders } from "../pages/page_headers.ts";
import { playgroundHtml } from "../pages/playground.tsx";
import { readySchema } from "../protocol/resources/server.ts";
import { Refusal } from "../protocol/refusal.ts";
import { VERSION } from "../protocol/version.ts";
import type { EdgeApp, EdgeEnv } from "./bindings.ts";

/** The longest time that the start page waits for the host, in milliseconds. */
const READY_MILLISECONDS = 3000;

/** Mounts the pages. Without `files` there is only the start page, without its style. */
export function edgePageRoutes(app: EdgeApp, files?: PageFiles): void {
  app.get("/", async (c) => {
    const state: HomeState = {
      ...factsOf(c),
      device: await readDevice(app, c),
    };
    if (!c.req.header("Accept")?.includes("text/html")) return c.text(homeText(state));
    return c.body(homeHtml(state, files), 200, pageHeaders());
  });
  const pages = [["/playground", playgroundHtml], ["/jobs", jobsHtml], ["/docs", docsHtml]] as const;
  for (const [path, render] of pages) {
    app.get(path, (c) => {
      const headers = path === "/docs" ? docsHeaders() : pageHeaders(uploadOrigins(c));
      if (files) return c.body(render(factsOf(c), files), 200, headers);
      const reason = "because build/pages was missing when it was deployed: run deno task build";
      throw new Refusal("not_found", `this edge has no page ${path}, ${reason}`);
    });
  }
  app.get("/assets/:name", (c: Context<EdgeEnv>) => {
    const response = answerFile(c.req.raw, files);
    if (response) return response;
    throw new Refusal("not_found", `there is no resource ${c.req.path}`);
  });
}

/** Returns the facts about the server that every page shows. */
function factsOf({ env: { PARE_KEYS, EDGE_OPEN }, req }: Context<EdgeEnv>): ServerFacts {
  const keys = PARE_KEYS ? "needed" : EDGE_OPEN === "true" ? "not needed" : "unset";
  return { kind: "edge", version: VERSION, origin: new URL(req.url).origin, keys };
}

/** Returns the answer of `/readyz`, or the reason why there is no device. */
async function readDevice(app: EdgeApp, c: Context<EdgeEnv>): Promise<HomeState["device"]> {
  const arriving = Promise.resolve(app.request("/readyz", {}, c.env));
  if (!await settlesWithin(arriving, READY_MILLISECONDS)) {
    return { reason: `the host has not answered within ${READY_MILLISECONDS / 1000} s` };
  }
  const response = await arriving;
  const answer: unknown = await response.json().catch(() => undefined);
  const ready = readySchema.safeParse(answer);
  if (response.ok && ready.success) return ready.data;
  const detail = typeof answer === "object" && answer !== null && "detail" in answer
    ? answer.detail
    : undefined;
  return { reason: typeof detail === "string" ? detail : `the host answered with status ${response.status}` };
}

/** Returns the origin of the bucket, to which scripts send large layers, unless it is the edge's own origin. */
function uploadOrigins({ env, req }: Context<EdgeEnv>): string[] {
  const bucket = env.BLOBS_S3_URL ? URL.parse(env.BLOBS_S3_URL)?.origin : undefined;
  return bucket === undefined || bucket === new URL(req.url).origin ? [] : [bucket];
}
