/**
 * The start page of a server, as plain text for command lines and as HTML for browsers: what the server is, the state of its device, whether
 * keys are needed, and the resources.
 */

import type { Ready } from "../protocol/ready.ts";
import { escapeHtml } from "./escape_html.ts";
import { renderPage, type ServerFacts, type ServerKind } from "./layout.ts";
import { type PageFiles, SAMPLE_PATH } from "./page_files.ts";

/** The state that the page shows. */
export interface HomeState extends ServerFacts {
  /** The origin of the server, as its client sees it. */
  readonly origin: string;
  /** The answer of `GET /readyz`, or the reason why the device cannot be used. */
  readonly device: Ready | { readonly reason: string };
  /** The device memory in use, and the part of it that holds stored statistics, in bytes. Known only to a host. */
  readonly memory?: { readonly used: number; readonly stored: number };
  /** The number of layers that the device holds at once. Known only to a host. */
  readonly capacity?: number;
}

type Resource = readonly [method: string, path: string, purpose: string];

const SHARED: readonly Resource[] = [
  ["POST", "/v1/layers", "prune one layer (the request and the answer are safetensors files)"],
  ["PUT", "/v1/hessians/sha256:HEX", "store statistics that several layers share"],
];

const EDGE_ONLY: readonly Resource[] = [
  ["POST", "/v1/uploads", "upload the tensors of a layer that is too large for one request"],
  ["POST", "/v1/jobs", "prune many layers durably, at several hosts"],
  ["GET", "/v1/jobs", "the jobs of an API key, newest first"],
  ["GET", "/v1/hosts", "the hosts that are alive"],
];

const PAGES: readonly Resource[] = [
  ["GET", "/playground", "a page that prunes a layer and shows the mask"],
  ["GET", "/docs", "the whole contract as pages"],
  ["GET", "/openapi.json", "the contract as an OpenAPI document"],
  ["GET", "/readyz", "the device, its limits and the queue"],
  ["GET", "/metrics", "counters and gauges as Prometheus text"],
];

const JOBS_PAGE: Resource = ["GET", "/jobs", "a page with hosts, jobs and their layers"];

const PURPOSES: Readonly<Record<ServerKind, string>> = {
  host:
    "This server is a host: it prunes layers on one device. It has no uploads and no jobs, which are resources of an edge.",
  edge:
    "This server is an edge: it stands in front of hosts, which have the devices. It passes single layers on to a host, and adds API keys, uploads of large layers, and durable jobs.",
};

/** Returns the page as plain text. */
export function homeText(state: HomeState): string {
  const lines = resources(state.kind).map(([method, path, purpose]) =>
    `${method.padEnd(5)}${path.padEnd(26)}${purpose}`
  );
  return [
    `Pare ${state.version}, ${state.kind}`,
    "reason" in state.device
      ? `Not ready: ${state.device.reason}.`
      : `Ready: ${state.device.backend} on ${state.device.adapter.name}.`,
    `API keys: ${keySentence(state)}.`,
    "",
    ...lines,
    "",
    curlLine(state),
    "",
  ].join("\n");
}

/** Returns the page as HTML. */
export function homeHtml(state: HomeState, files?: PageFiles): string {
  const { kind, device } = state, isReady = !("reason" in device);
  const facts = [...deviceFacts(state), ["API keys", keySentence(state)]];
  const main = `<h1>Prune large language models, layer by layer</h1>
<p class="lead">Pare sets half or more of the weights of a linear layer to zero in one shot, and updates the others so that the output of the layer changes as little as possible. ${
    PURPOSES[kind]
  }</p>
<section class="card" aria-labelledby="state">
<h2 id="state"><span class="dot ${isReady ? "good" : "bad"}" aria-hidden="true"></span>${
    isReady ? "Ready" : "Not ready"
  }</h2>
${isReady ? "" : renderReason(kind, device.reason)}
<dl class="facts">${
    facts.map(([name, value]) => `<div><dt>${name}</dt><dd>${escapeHtml(value)}</dd></div>`).join("")
  }</dl>
</section>
<section aria-labelledby="try">
<h2 id="try">Try it</h2>
<p>Open the <a href="/playground">playground</a>, or send the sample layer with curl. The report is in the header <code>Pare-Report</code>:</p>
<pre tabindex="0" aria-label="A curl command">${escapeHtml(curlLine(state))}</pre>
</section>
<section aria-labelledby="resources">
<h2 id="resources">Resources</h2>
<ul class="resources">${resources(kind).map(renderResource).join("")}</ul>
</section>`;
  return renderPage(state, { path: "/", title: `Pare ${kind}`, main }, files);
}

function renderReason(kind: ServerKind, reason: string): string {
  const jobs = kind === "host"
    ? ""
    : `<p>Jobs do not depend on this device: <a href="/jobs">the jobs page</a> lists the hosts that solve them.</p>`;
  return `<p class="problem">${escapeHtml(reason)}</p>${jobs}`;
}

function resources(kind: ServerKind): readonly Resource[] {
  return kind === "host" ? [...SHARED, ...PAGES] : [...SHARED, ...EDGE_ONLY, JOBS_PAGE, ...PAGES];
}

/** Paths that begin with `/v1/` are no links, because a browser opens a link without an API key. */
function renderResource([method, path, purpose]: Resource): string {
  const target = path.startsWith("/v1/")
    ? `<code>${path}</code>`
    : `<a href="${path}"><code>${path}</code></a>`;
  return `<li><span class="method">${method}</span>${target}<span class="purpose">${purpose}</span></li>`;
}

function deviceFacts({ device, memory, capacity }: HomeState): string[][] {
  if ("reason" in device) return [];
  const { backend, adapter, queue, limits } = device;
  const places = capacity === undefined ? "" : ` of ${capacity}`;
  return [
    ["Device", `${adapter.name} (${backend}${adapter.software ? ", software" : ""})`],
    ["Queue", `${queue.waiting} waiting, ${queue.resident}${places} on the device`],
    ...memory === undefined ? [] : [[
      "Memory in use",
      `${formatBytes(memory.used)}, of which ${formatBytes(memory.stored)} are stored statistics`,
    ]],
    ["Largest buffer", formatBytes(limits.max_buffer_bytes)],
    [
      "Largest request",
      `${formatBytes(limits.max_body_bytes)}, ${limits.max_features.toLocaleString("en")} inputs or outputs`,
    ],
  ];
}

function keySentence({ kind, keys }: HomeState): string {
  if (keys === "needed") return "Needed: send the header Authorization: Bearer KEY";
  if (keys === "unset") {
    return "None is set, so requests for uploads, blobs, jobs and hosts are refused. Set PARE_KEYS";
  }
  return kind === "host" ? "Not needed. The host listens on loopback only" : "Not needed";
}

function curlLine({ origin, keys }: HomeState): string {
  const key = keys === "needed" ? ' -H "Authorization: Bearer KEY"' : "";
  return `curl -s ${origin}${SAMPLE_PATH} | curl -sS --fail-with-body -D - -o pruned.safetensors${key} ` +
    `-H "Content-Type: application/vnd.safetensors" --data-binary @- "${origin}/v1/layers?pattern=2:4"`;
}

function formatBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, bytes < 1024 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${Number((bytes / 1024 ** power).toPrecision(3))} ${units[power]}`;
}
