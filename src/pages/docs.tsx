/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
/** The page `/docs`, which shows the contract with Scalar. A host serves Scalar's script, also behind an edge. */

import { renderPage, type ServerFacts } from "./layout.tsx";
import type { PageFiles } from "./page_files.ts";

export const SCALAR_PATH = "/docs/scalar.js";

export function docsHtml(facts: ServerFacts, files: PageFiles): string {
  const main = (
    <>
      <div id="contract" />
      <main id="no-contract" hidden>
        <h1>The HTTP contract</h1>
        <p class="problem">
          The script of this page could not be loaded. <a href="/openapi.json">openapi.json</a>{" "}
          has the same contract.
        </p>
      </main>
      <noscript>
        <p class="problem">
          This page needs JavaScript. <a href="/openapi.json">openapi.json</a> has the same contract.
        </p>
      </noscript>
    </>
  );
  return renderPage(
    facts,
    {
      path: "/docs",
      title: "Pare contract",
      main,
      hasMain: true,
      style: "docs.css",
      scripts: [SCALAR_PATH, "docs.js"],
    },
    files,
  );
}
