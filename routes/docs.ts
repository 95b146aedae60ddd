/**
 * `GET /docs`: the contract as pages, shown by Scalar. The host itself serves the script, so the pages need no other server. An edge passes
 * requests for the pages on to its host, and the pages then show the document of the edge, because they ask the server that sent them.
 */

import type { Context } from "hono";
import { accepts } from "hono/accepts";
import type { HostServices } from "../src/host/host_services.ts";
import { Refusal } from "../src/protocol/refusal.ts";
import type { HostApp, HostEnv } from "./host_app.ts";

/** The paths of the pages and of their two scripts. */
const PAGE = "/docs", SCALAR = "/docs/scalar.js", START = "/docs/start.js";

/**
 * The content that the pages may load. Scalar inserts its styles as elements and attributes, so they must be allowed. It checks whether it may
 * evaluate text as code, and does without if it may not.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pare: the HTTP contract</title>
<link rel="icon" href="data:,">
</head>
<body>
<noscript>These pages need JavaScript. <a href="/openapi.json">/openapi.json</a> has the same contract.</noscript>
<div id="contract"></div>
<script src="${SCALAR}"></script>
<script src="${START}"></script>
</body>
</html>
`;

/** Starts Scalar. All options that would load something from another server, or send something to one, are off. */
const START_SCRIPT = `Scalar.createApiReference("#contract", {
  url: "/openapi.json",
  withDefaultFonts: false,
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  showDeveloperTools: "never",
  hideClientButton: true,
  persistAuth: false,
  authentication: { preferredSecurityScheme: "key" },
});
`;

/** Seconds for which a browser may use the script without asking again. The script changes only with the version of the host. */
const SCRIPT_SECONDS = 86_400;

/** Adds the pages to the application. */
export function docsRoutes(app: HostApp, { docsScript }: HostServices): void {
  app.get(PAGE, async (c) => {
    await requireScript(docsScript);
    return c.html(HTML, 200, { "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff" });
  });
  app.get(START, (c) => c.body(START_SCRIPT, 200, { "Content-Type": "text/javascript; charset=utf-8" }));
  app.get(SCALAR, async (c) => sendScript(c, await requireScript(docsScript)));
}

/** Returns the compressed script. @throws {Refusal} `not_found` if the host has none */
async function requireScript(docsScript: HostServices["docsScript"]): Promise<Uint8Array<ArrayBuffer>> {
  const script = await docsScript?.();
  if (script) return script;
  throw new Refusal(
    "not_found",
    "this host has no pages at /docs, because build/scalar.js.gz is missing: run deno task build:docs, or read /openapi.json",
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
