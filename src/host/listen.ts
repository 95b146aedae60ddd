/** Chooses the listener of a host: `Listener`, or `PlainListener` if Deno lacks the function that `Listener` needs. */

import { type HttpListener, Listener, type ListenOptions, type ServeHttpOnConnection } from "./listener.ts";
import { messageOf } from "../base/errors.ts";

/** The functions of Deno that the host uses without being part of Deno's public interface. A version may lack them. */
export interface DenoInternals {
  readonly serveHttpOnConnection?: ServeHttpOnConnection;
}

/**
 * Listens for connections and serves HTTP on them. If Deno lacks the function that serves a single connection, a
 * warning in the log says which protections the host does not have.
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

/** The protections that `PlainListener` lacks, for the log. */
const MISSING_PROTECTIONS = "the number of connections is not limited; connections that are idle, " +
  "that send no header, or whose clients do not take small answers stay open; and the host stops listening " +
  "when the process has no file descriptor left";

/** Serves HTTP without limits of the connections. @throws the system's error if the port is not available */
class PlainListener implements HttpListener {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #abort = new AbortController();
  #requests = 0;

  constructor({ hostname, port, handler, log }: ListenOptions) {
    const onRequest = (request: Request, { completed }: Deno.ServeHandlerInfo) => {
      this.#requests++;
      const onEnd = () => void this.#requests--;
      completed.then(onEnd, onEnd);
      return handler(request, completed);
    };
    this.#server = Deno.serve({
      hostname,
      port,
      signal: this.#abort.signal,
      onListen: () => {},
      onError: () => new Response(null, { status: 500 }),
    }, onRequest);
    // Without this handler, the rejection would end the process in the middle of its running requests.
    this.#server.finished.catch((error) => log({ event: "listening ended", fault: messageOf(error) }));
  }

  get port(): number {
    return this.#server.addr.port;
  }

  /** The number of connections with a request. Others are unknown. */
  get connections(): number {
    return this.#requests;
  }

  async close(): Promise<void> {
    await this.#server.shutdown();
  }

  abort(): void {
    this.#abort.abort();
  }
}
