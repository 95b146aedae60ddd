/**
 * The start page of a host, which is a Pare server, as plain text for command lines and as HTML for browsers.
 * It lists the resources and the state of the device.
 */

/** The state of a host that the page shows. */
export interface HomeState {
  readonly version: string;
  /** The backend and the name of its adapter, or undefined while no device can be used. */
  readonly device?: { readonly backend: string; readonly adapter: string };
}

const RESOURCES = [
  ["POST", "/v1/layers", "prune one layer (the request and the answer are safetensors files)"],
  ["PUT", "/v1/hessians/sha256:HEX", "store statistics that several layers share"],
  ["GET", "/openapi.json", "the description of the whole API"],
  ["GET", "/readyz", "the device, its limits and the queue"],
  ["GET", "/metrics", "Prometheus text"],
] as const;

/** Returns the page as plain text. */
export function homeText(state: HomeState): string {
  const lines = RESOURCES.map(([method, path, what]) => `${method.padEnd(5)}${path.padEnd(26)}${what}`);
  return [title(state), deviceLine(state), "", ...lines, ""].join("\n");
}

/** Returns the page as HTML. */
export function homeHtml(state: HomeState): string {
  const rows = RESOURCES.map(([method, path, what]) =>
    `<tr><td>${method}<td><code>${path}</code><td>${what}`
  );
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title(state)}</title>` +
    `<style>body{font:16px/1.5 system-ui;margin:3rem auto;max-width:44rem}td{padding-right:1rem}</style>` +
    `<h1>${title(state)}</h1><p>${escapeHtml(deviceLine(state))}<table>${rows.join("")}</table></html>`;
}

function title({ version }: HomeState): string {
  return `Pare ${version}`;
}

function deviceLine({ device }: HomeState): string {
  return device ? `Ready: ${device.backend} on ${device.adapter}.` : "Not ready: no device is usable.";
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
