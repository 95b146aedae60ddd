/** The registry of hosts as the methods of its Durable Object, which is one for the whole deployment. */

import type { Digest } from "../../protocol/digest.ts";
import type { HostState } from "../../protocol/jobs.ts";
import { NonceMemory } from "../../protocol/tickets.ts";
import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";
import type { DurableObjectState, Remote } from "./durable_object.ts";
import { type ChosenHost, HostRegistry, type KnownHost } from "./registry.ts";

/** What may be asked of the registry. */
export interface HostsMethods {
  beat(id: string, state: HostState): void;
  leave(id: string): void;
  alive(): KnownHost[];
  choose(task: string, hessian: Digest | undefined): ChosenHost | undefined;
  release(task: string): void;
  /** Remembers the nonce of a ticket; false where it is known. Isolates of the Worker share no memory, so that it is here. */
  take(nonce: string, expires: number, now: number): boolean;
}

/** The methods over an object's storage. */
export function hostsMethods({ storage }: DurableObjectState): HostsMethods {
  const registry = new HostRegistry(storage.sql, Date.now), nonces = new NonceMemory();
  return {
    beat: (id, state) => registry.beat(id, state),
    leave: (id) => registry.leave(id),
    alive: () => registry.alive(),
    choose: (task, hessian) => registry.choose(task, hessian),
    release: (task) => registry.release(task),
    take: (nonce, expires, now) => nonces.take(nonce, expires, now),
  };
}

/** The deployment's registry. @throws {Refusal} unsupported where there is none */
export function hostsOf(env: EdgeBindings): Remote<HostsMethods> {
  if (!env.HOSTS) throw new Refusal("unsupported", "this edge has no registry of hosts: HOSTS is not bound");
  return env.HOSTS.getByName("hosts");
}
