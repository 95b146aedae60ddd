/** The methods of the Durable Object that holds the registry of hosts. */

import type { Digest } from "../../protocol/digest.ts";
import type { HostState } from "../../protocol/jobs.ts";
import type { ChosenHost, KnownHost } from "./registry.ts";

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
