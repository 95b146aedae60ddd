/**
 * `GET /docs`: the contract as a page, shown by Scalar, and the script of Scalar. The host itself serves the script, so
 * the page needs no other server.
 */

import type { Context } from "hono";
import { accepts } from "hono/accepts";
import type { HostServices } from "../src/host/host_services.ts";
import { docsHtml, SCALAR_PATH } from "../src/pages/docs.tsx";
import type { PageFiles } from "../src/pages/page_files.ts";
import { docsHeaders } from "../src/pages/page_headers.ts";
import { Refusal } from "../src/protocol/refusal.ts";
import type { HostApp, HostEnv } from "./host_app.ts";
import { requirePages, serverFacts } from "./pages.ts";

/** The seconds for which a browser may keep the script. It changes only with the version of the host. */
const SCRIPT_SECONDS = 86_400;

export function docsRoutes(app: HostApp, services: HostServices, files?: PageFiles): void {
  const { docsScript } = services;
  app.get("/docs", async (c) => {
    await requireScript(docsScript);
    const html = docsHtml(serverFacts(c, services), requirePages(c, files));
    return c.body(html, 200, docsHeaders());
  });
  app.get(SCALAR_PATH, async (c) => sendScript(c, await requireScript(docsScript)));
}

/** Returns the compressed script. @throws {Refusal} `not_found` if the host has none */
async function requireScript(docsScript: HostServices["docsScript"]): Promise<Uint8Array<ArrayBuffer>> {
  const script = await docsScript?.();
  if (script) return script;
  throw new Refusal(
    "not_found",
    "this host has no pages at /docs, because build/scalar.js.gz is missing: run deno task build docs, or read /openapi.json",
  );
}

function sendScript(c: Context<HostEnv>, gzipped: Uint8Array<ArrayBuffer>): Response {
  const headers = {
    "Content-Type": "text/javascript; charset=utf-8",
    "Cache-Control": `public, max-age=${SCRIPT_SECONDS}`,
    "Vary": "Accept-Encoding",
  };
  const encoding = accepts(c, {
    header: "Accept-Encoding",
    supports: ["gzip", "identity"],
    default: "identity",
  });
  if (encoding === "gzip") return c.body(gzipped, 200, { ...headers, "Content-Encoding": "gzip" });
  return c.body(new Blob([gzipped]).stream().pipeThrough(new DecompressionStream("gzip")), 200, headers);
}
