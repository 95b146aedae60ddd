/**
 * Reads the secret that the edge (Pare's Cloudflare Worker) shares with its GPU hosts. With it, both sign the
 * requests that they send to each other.
 */

import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";

/** Returns `EDGE_HOST_SECRET`. @throws {Refusal} `unsupported` if it is not set */
export function requireHostSecret(env: EdgeBindings): string {
  if (!env.EDGE_HOST_SECRET) {
    throw new Refusal("unsupported", "this edge cannot work with hosts, because EDGE_HOST_SECRET is not set");
  }
  return env.EDGE_HOST_SECRET;
}
