/**
 * The messages of `/v1/hosts`, a resource of the edge, which is the public server in front of GPU hosts. Hosts register there by heartbeats,
 * and operators list the hosts that are alive.
 */

import { z } from "zod";
import { digestSchema } from "../digest_schema.ts";
import { idSchema } from "./id.ts";

/** The largest number of stored statistics that a heartbeat lists. A host's store has room for a few dozen. */
export const MAX_FACTORS = 256;

/** The interval of a host's heartbeats. */
export const HEARTBEAT_MILLISECONDS = 10_000;

/** The id of a host. A host has a new id after every start, so that messages for an earlier process do not reach the new one. */
export const hostIdSchema = idSchema;

/** The body of `PUT /v1/hosts/:id`: the state of a host. */
export const heartbeatSchema = z.strictObject({
  url: z.url({ protocol: /^https?$/ }).meta({ description: "The URL at which the edge reaches the host" }),
  backend: z.string().max(32),
  adapter: z.string().max(256),
  capacity: z.int().min(1).max(1024).meta({
    description: "The number of layers that the host holds on its device at once",
  }),
  queue: z.strictObject({ waiting: z.int().min(0), resident: z.int().min(0) }),
  factors: z.array(digestSchema).max(MAX_FACTORS).meta({
    description: "The digests of the statistics on the host's device",
  }),
}).meta({ id: "HostState" });

/** The state of a host. */
export type Heartbeat = z.infer<typeof heartbeatSchema>;

/** A host that is alive, with the state from its last heartbeat. */
export const aliveHostSchema = heartbeatSchema.extend({
  id: hostIdSchema,
  seen: z.int().meta({ description: "The time of the last heartbeat, in milliseconds since 1970" }),
}).meta({ id: "Host" });

/** A host that is alive. */
export type AliveHost = z.infer<typeof aliveHostSchema>;
