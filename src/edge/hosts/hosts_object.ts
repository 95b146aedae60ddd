/** The registry of hosts as the methods of its Durable Object, which is one for the whole deployment. */

import { NonceMemory } from "../../protocol/tickets.ts";
import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";
import type { DurableObjectState, Remote } from "./durable_object.ts";
import type { HostsMethods } from "./hosts_methods.ts";
import { HostRegistry } from "./registry.ts";

/** The methods over an object's storage. */
export function hostsMethods({ storage }: DurableObjectState): HostsMethods {
  const registry = new HostRegistry(storage.sql, Date.now), nonces = new NonceMemory();
  return {
    beat: (id, state) => registry.beat(id, state),
    leave: (id) => registry.leave(id),
    alive: () => registry.alive(),
    choose: (task, hessian) => registry.choose(task, hessian),
    release: (task) => registry.release(task),
    take: (nonce, expires, now) => nonces.remember(nonce, expires, now),
  };
}

/** The deployment's registry. @throws {Refusal} unsupported where there is none */
export function hostsOf(env: EdgeBindings): Remote<HostsMethods> {
  if (!env.HOSTS) throw new Refusal("unsupported", "this edge has no registry of hosts: HOSTS is not bound");
  return env.HOSTS.getByName("hosts");
}
