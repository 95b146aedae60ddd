/** Serves `GET /` (HTML for browsers, plain text for curl), `GET /runs`, `GET /playground`, `GET /jobs`, and the files that these pages load. */

import type { Context } from "hono";
import { compress } from "hono/compress";
import type { HostServices } from "../src/host/host_services.ts";
import { homeHtml, type HomeState, homeText } from "../src/pages/home.tsx";
import { noJobsHtml } from "../src/pages/jobs.tsx";
import type { ServerFacts } from "../src/pages/layout.tsx";
import { answerFile, type PageFiles } from "../src/pages/page_files.ts";
import { pageHeaders } from "../src/pages/page_headers.ts";
import { playgroundHtml } from "../src/pages/playground.tsx";
import { noRunsHtml, runsHtml } from "../src/pages/runs.tsx";
import { Refusal } from "../src/protocol/refusal.ts";
import { describeDevice } from "./status.ts";
import type { HostApp, HostEnv } from "./host_app.ts";

/** Adds the pages to the application. Without `files` there is no playground, and the start page has no style. */
export function pageRoutes(app: HostApp, services: HostServices, files?: PageFiles): void {
  for (const path of ["/", "/runs", "/playground", "/docs", "/assets/*"]) app.use(path, compress());

  app.get("/", (c) => {
    const state: HomeState = { ...serverFacts(c, services), ...deviceState(services) };
    if (!c.req.header("Accept")?.includes("text/html")) return c.text(homeText(state));
    return c.body(homeHtml(state, files), 200, pageHeaders());
  });
  app.get("/playground", (c) => {
    const html = playgroundHtml(serverFacts(c, services), requirePages(c, files));
    return c.body(html, 200, pageHeaders());
  });
  app.get("/runs", (c) => {
    const facts = serverFacts(c, services), { runs } = services;
    if (!runs) return c.body(noRunsHtml(facts, files), 404, pageHeaders());
    return c.body(runsHtml(facts, runs.formats, requirePages(c, files)), 200, pageHeaders());
  });
  app.get("/jobs", (c) => {
    if (!c.req.header("Accept")?.includes("text/html")) {
      throw new Refusal(
        "not_found",
        "there is no resource /jobs: this server is a host, and jobs are at an edge",
      );
    }
    return c.body(noJobsHtml(serverFacts(c, services), files), 404, pageHeaders());
  });
  app.get("/assets/:name", (c: Context<HostEnv>) => {
    const response = answerFile(c.req.raw, files);
    if (response) return response;
    throw new Refusal("not_found", `there is no resource ${c.req.path}`);
  });
}

export function serverFacts(c: Context<HostEnv>, { version, keys, runs }: HostServices): ServerFacts {
  return {
    kind: "host",
    version,
    origin: new URL(c.req.url).origin,
    keys: keys.current.length > 0 ? "needed" : "not needed",
    hasRuns: runs !== undefined,
  };
}

/** Returns the files of the pages. @throws {Refusal} `not_found` if they were not built */
export function requirePages(c: Context<HostEnv>, files: PageFiles | undefined): PageFiles {
  if (files) return files;
  throw new Refusal(
    "not_found",
    `this host has no page ${c.req.path}, because build/pages is missing: run deno task build`,
  );
}

/** Returns the state of the device, of its memory and of its capacity. */
function deviceState(services: HostServices): Pick<HomeState, "device" | "memory" | "capacity"> {
  const { device } = services, session = device.current();
  if (!session) return { device: { reason: device.unavailableReason()?.message ?? "there is no device" } };
  return {
    device: describeDevice(services, session),
    memory: { used: session.backend.counters.bytesLive, stored: session.store.byteLength },
    capacity: device.maxResidentLayers,
  };
}
