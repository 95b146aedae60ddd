/** Finds the registry of the GPU hosts that the edge (Pare's Cloudflare Worker) sends layers to. */

import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";
import type { Remote } from "../runtime/durable_object.ts";
import type { HostRegistry } from "./host_registry.ts";

/**
 * Returns the registry, which is one Durable Object for the whole deployment.
 * @throws {Refusal} `unsupported` if the binding HOSTS is missing
 */
export function findRegistry(env: EdgeBindings): Remote<HostRegistry> {
  if (!env.HOSTS) {
    throw new Refusal("unsupported", "this edge has no registry of hosts, because HOSTS is not bound");
  }
  return env.HOSTS.getByName("hosts");
}
