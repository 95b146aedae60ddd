/** `GET /`: a short page for people, HTML for browsers and plain text for curl. */

import type { HostApp } from "./host_app.ts";
import type { Services } from "./host_env.ts";

const RESOURCES = [
  ["POST", "/v1/layers", "prune one layer: a safetensors file in, one out"],
  ["PUT", "/v1/hessians/sha256:HEX", "store statistics that several layers share"],
  ["GET", "/openapi.json", "the whole contract"],
  ["GET", "/readyz", "the device, its limits and the queue"],
  ["GET", "/metrics", "Prometheus text"],
] as const;

/** Mounts the page. */
export function homeRoutes(app: HostApp, { device, version }: Services): void {
  app.get("/", (c) => {
    const backend = device.current()?.backend;
    const title = `Pare ${version}`;
    const state = backend
      ? `Ready: ${backend.kind} on ${backend.adapter.name}.`
      : "Not ready: no device is usable.";
    if (!c.req.header("Accept")?.includes("text/html")) {
      const lines = RESOURCES.map(([method, path, what]) => `${method.padEnd(5)}${path.padEnd(26)}${what}`);
      return c.text([title, state, "", ...lines, ""].join("\n"));
    }
    const rows = RESOURCES.map(([method, path, what]) =>
      `<tr><td>${method}<td><code>${path}</code><td>${what}`
    );
    return c.html(
      `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title>` +
        `<style>body{font:16px/1.5 system-ui;margin:3rem auto;max-width:44rem}td{padding-right:1rem}</style>` +
        `<h1>${title}</h1><p>${escapeHtml(state)}<table>${rows.join("")}</table></html>`,
    );
  });
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
