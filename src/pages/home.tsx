/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
/**
 * The start page of a server, as plain text for command lines and as HTML for browsers: what the server is, the state
 * of its device, whether keys are needed, first commands, and the resources.
 */

import type { Ready } from "../protocol/messages.ts";
import { formatBytes } from "./browser/format.ts";
import { curlCommand, pruneCommand, pythonProgram, typescriptProgram } from "./commands.ts";
import { renderPage, Section, type ServerFacts, type ServerKind, Snippet } from "./layout.tsx";
import type { PageFiles } from "./page_files.ts";
import { sampleMask } from "./sample_layer.ts";

export interface HomeState extends ServerFacts {
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
    curlCommand(state),
    "",
  ].join("\n");
}

export function homeHtml(state: HomeState, files?: PageFiles): string {
  const { kind } = state;
  const main = (
    <>
      <div class="columns">
        <div>
          <h1>Prune large language models, layer by layer</h1>
          <p class="lead">
            Pare sets half or more of the weights of a linear layer to zero in one shot, and updates the
            others so that the output of the layer changes as little as possible. {PURPOSES[kind]}
          </p>
        </div>
        <MaskPicture />
      </div>
      <State state={state} />
      <Section id="one-layer" title="Prune one layer">
        <p>
          Open the{" "}
          <a href="/playground">playground</a>, or send the sample layer with curl. The answer’s header{" "}
          <code>Pare-Report</code> has the error.
        </p>
        <Snippet label="A curl command that prunes the sample layer" text={curlCommand(state)} />
      </Section>
      <Section id="whole-model" title="Prune a whole model">
        <p>
          The command <code>pare</code>{" "}
          reads a model, calibrates it on a text, sends its layers to this server
          {kind === "edge" && (
            <>
              {" "}as jobs, which <a href="/jobs">the jobs page</a> shows
            </>
          )}, and writes a checkpoint that every loader reads.
        </p>
        <Snippet label="A command that prunes a whole model" text={pruneCommand(state)} />
      </Section>
      <Section id="sdk" title="Use the SDK">
        <p>
          In TypeScript, the package <code>pare-llm-client</code> prunes layers and models.
        </p>
        <Snippet label="A program in TypeScript" text={typescriptProgram(state)} />
        <p>
          In Python, the package <code>pare-llm</code> prunes a PyTorch model in memory.
        </p>
        <Snippet label="A program in Python" text={pythonProgram(state)} />
        <p class="note">The README of Pare says how to install the command and both packages.</p>
      </Section>
      <Section id="resources" title="Resources">
        <table>
          <thead>
            <tr>{["Resource", "Purpose"].map((name) => <th scope="col">{name}</th>)}</tr>
          </thead>
          <tbody>{resources(kind).map((resource) => <ResourceRow resource={resource} />)}</tbody>
        </table>
      </Section>
    </>
  );
  return renderPage(state, { path: "/", title: `Pare ${kind}`, main, scripts: ["copy.js"] }, files);
}

/** The mask of a part of the sample layer, as one line per run of kept weights. */
function MaskPicture() {
  const rows = sampleMask(), cols = rows[0].length;
  const lines = rows.flatMap((row, y) =>
    [...row.matchAll(/1+/g)].map(({ index, 0: run }) => `M${index} ${y}h${run.length}`)
  );
  return (
    <figure>
      <svg
        viewBox={`0 -0.5 ${cols} ${rows.length}`}
        role="img"
        aria-label={`The mask of ${rows.length} × ${cols} weights of the sample layer`}
      >
        <path d={lines.join("")} stroke="var(--accent)" shape-rendering="crispEdges" />
      </svg>
      <figcaption>
        A corner of the sample layer after SparseGPT at 50 %. Coloured weights are kept, and blank ones are
        zero.
      </figcaption>
    </figure>
  );
}

/** The device with its load, or the reason why there is none. */
function State({ state }: { state: HomeState }) {
  const { kind, device } = state, isReady = !("reason" in device);
  const title = (
    <>
      <span class={`state ${isReady ? "done" : "failed"}`} aria-hidden="true" />
      {isReady ? "Ready" : "Not ready"}
    </>
  );
  return (
    <article aria-labelledby="state">
      <h2 id="state">{title}</h2>
      {!isReady && <p class="problem">{device.reason}</p>}
      {!isReady && kind === "edge" && (
        <p>
          Jobs do not depend on this device: <a href="/jobs">the jobs page</a>{" "}
          lists the hosts that solve them.
        </p>
      )}
      <dl>
        {[...deviceFacts(state), ["API keys", keySentence(state)]].map(([name, value]) => (
          <div>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </article>
  );
}

function resources(kind: ServerKind): readonly Resource[] {
  return kind === "host" ? [...SHARED, ...PAGES] : [...SHARED, ...EDGE_ONLY, JOBS_PAGE, ...PAGES];
}

/** Paths that begin with `/v1/` are not links, because a browser opens a link without an API key. */
function ResourceRow({ resource: [method, path, purpose] }: { resource: Resource }) {
  return (
    <tr>
      <th scope="row">
        <code>{method} {path.startsWith("/v1/") ? path : <a href={path}>{path}</a>}</code>
      </th>
      <td>{purpose}</td>
    </tr>
  );
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
