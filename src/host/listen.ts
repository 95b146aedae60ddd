/** Chooses how the host listens: with limits of the connections if this version of Deno allows them, and otherwise without. */

import { type HttpListener, Listener, type ListenOptions, type ServeHttpOnConnection } from "./listener.ts";
import { MISSING_PROTECTIONS, PlainListener } from "./plain_listener.ts";

/** The internal functions of Deno that the host uses. They are not part of Deno's public interface, so a version may lack them. */
export interface DenoInternals {
  readonly serveHttpOnConnection?: ServeHttpOnConnection;
}

/**
 * Listens for connections and serves HTTP on them. If Deno lacks the function that serves a single connection, a warning in the log says which
 * protections the host does not have.
 * @throws the system's error if the port is not available
 */
export function listen(options: ListenOptions, internals: DenoInternals = denoInternals()): HttpListener {
  if (internals.serveHttpOnConnection) return new Listener(options, internals.serveHttpOnConnection);
  options.log({ event: "connections not limited", deno: Deno.version.deno, missing: MISSING_PROTECTIONS });
  return new PlainListener(options);
}

function denoInternals(): DenoInternals {
  const { internal } = Deno as unknown as { internal: symbol };
  return (Deno as unknown as Record<symbol, DenoInternals | undefined>)[internal] ?? {};
}
