/** The secret that an edge shares with its hosts. */

import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";

/** `EDGE_HOST_SECRET`. @throws {Refusal} unsupported where it is not set */
export function secretOf(env: EdgeBindings): string {
  if (!env.EDGE_HOST_SECRET) {
    throw new Refusal("unsupported", "this edge has no hosts of its own: EDGE_HOST_SECRET is not set");
  }
  return env.EDGE_HOST_SECRET;
}
