/** The parts of an OpenAPI document that belong to no operation: title, licence, servers, tags and API keys. */

import { VERSION } from "../version.ts";

const SHARED_TAGS = [
  { name: "Layers", description: "Prune layers" },
  { name: "Statistics", description: "Store statistics that several layers share" },
  {
    name: "Blocks",
    description: "Prune the blocks of a model, with the forward pass and the statistics on the host",
  },
  { name: "Server", description: "Describe the server" },
];

/** The tag of the resource that only a host has. */
const HOST_TAGS = [{ name: "Runs", description: "Prune or round whole models" }];

/** The tags of the resources that only an edge has. */
const EDGE_TAGS = [
  { name: "Blobs", description: "Read stored bodies, which are named by their digests" },
  { name: "Uploads", description: "Upload bodies that are too large for one request" },
  { name: "Jobs", description: "Prune layers by durable jobs" },
  { name: "Hosts", description: "List the hosts that solve the layers of jobs" },
];

/** The descriptions of the two servers. */
const DESCRIPTIONS = {
  host: "One-shot pruning of large language models, layer by layer. A host prunes layers on one device.",
  edge:
    "One-shot pruning of large language models, layer by layer. An edge is a public server in front of hosts. It passes " +
    "layers and blocks on to a host, and adds uploads of large bodies and durable jobs.",
} as const;

/** API keys as a security scheme, under the name `key`. */
export const KEY_SCHEME = {
  type: "http",
  scheme: "bearer",
  description:
    "A key of the server. The sha-256 of each accepted key is in its variable PARE_KEYS. A host without keys accepts " +
    "every request, but listens on loopback only.",
} as const;

/** Returns the document of a server without its operations. */
export function documentOf(server: "host" | "edge") {
  return {
    openapi: "3.1.0",
    info: {
      title: server === "host" ? "Pare host" : "Pare edge",
      version: VERSION,
      description: DESCRIPTIONS[server],
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/", description: "The server that has sent this document" }],
    tags: [...SHARED_TAGS, ...server === "host" ? HOST_TAGS : EDGE_TAGS],
  };
}
