/**
 * `/v1/hosts` at an edge. Hosts register there by heartbeats, and operators list the hosts that are alive. Only the
 * list is part of the public contract.
 */

import { z } from "zod";
import { described, digestSchema, idSchema, SDK_TEXTS } from "./fields.ts";
import { EDGE_PROBLEMS, json, NO_QUERY, type Operation } from "./operation.ts";

/** The largest number of stored statistics that a heartbeat lists. A host's store has room for a few dozen. */
export const MAX_FACTORS = 256;

/** The interval of a host's heartbeats. */
export const HEARTBEAT_MILLISECONDS = 10_000;

/** The wildcard address, and link-local addresses, where a cloud serves the credentials of its machines. */
const FORBIDDEN_ADDRESS =
  /^(0\.0\.0\.0|169\.254\.\d+\.\d+|\[::\]|\[fe[89ab][0-9a-f]:.*\]|\[::ffff:(a9fe:.*|0:0)\])$/;

/** Whether an edge may send tasks to the URL. `URL.parse` writes every notation of an address in the same form. */
function isHostUrl(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && url.username === "" && url.password === "" && !FORBIDDEN_ADDRESS.test(url.hostname);
}

/** The URL of a host, to which an edge may send tasks. */
export const hostUrlSchema = z.url({ protocol: /^https?$/ }).max(2048).refine(isHostUrl, {
  error: "must not have credentials, nor a wildcard or link-local address",
});

/** The body of `PUT /v1/hosts/:id`: the state of a host. */
export const heartbeatSchema = z.strictObject({
  url: hostUrlSchema.meta({ description: "The URL at which the edge reaches the host" }),
  backend: described(z.string().max(32), "`webgpu` or `cpu`"),
  adapter: described(z.string().max(256), "The name of the device on which the host solves layers"),
  capacity: z.int().min(1).max(1024).meta({
    description: "The number of layers that the host holds on its device at once",
  }),
  queue: described(
    z.strictObject({ waiting: z.int().min(0), resident: z.int().min(0) }),
    "The numbers of layers that wait for the device, and that are on it",
  ),
  factors: z.array(digestSchema).max(MAX_FACTORS).meta({
    description: "The digests of the statistics on the host's device",
  }),
}).meta({ id: "HostState" });

export type Heartbeat = z.infer<typeof heartbeatSchema>;

const aliveHostSchema = heartbeatSchema.extend({
  backend: described(z.string().max(32), "`webgpu` or `cpu`, or `unknown` for a host that a request wakes"),
  id: described(idSchema, "The id of the host, which is new after every start unless `PARE_HOST_ID` sets it"),
  seen: z.int().meta({
    description:
      "The time of the last heartbeat, in milliseconds since 1970, or 0 for a host that a request wakes",
  }),
}).meta({ id: "Host" }).register(SDK_TEXTS, {
  description: "A host that is alive, with the state from its last heartbeat, or a host that a request wakes",
});

export const LIST_HOSTS = {
  method: "get",
  path: "/v1/hosts",
  operationId: "listHosts",
  summary: "List the hosts that can get layers",
  tags: ["Hosts"],
  scope: "metrics",
  request: { query: NO_QUERY },
  responses: {
    200: {
      description:
        "The hosts that have sent a heartbeat within the last half minute, or that a request wakes",
      content: json(z.object({ hosts: z.array(aliveHostSchema) })),
    },
  },
  problems: EDGE_PROBLEMS,
} satisfies Operation;
