/**
 * Accepts connections, and serves HTTP on each of them by the implementation of `Deno.serve`. The host accepts
 * connections itself, because `Deno.serve` ends when the process runs out of file descriptors, and can neither count
 * connections nor close one that never sends a request. `node:http` can do both, but in Deno 2.9 it never accepts
 * another connection after the process has run out of file descriptors, and it reports no error.
 */

import { messageOf } from "../base/errors.ts";
import { settlesWithin, sleep } from "../base/waiting.ts";
import type { LogEntry } from "./metrics.ts";

export interface ConnectionLimits {
  readonly maxConnections: number;
  /** The time within which a new connection, or one whose request was refused, must send the header of a request. */
  readonly headerMilliseconds: number;
  /** The time within which a connection must send the header of a request after one that succeeded. */
  readonly keepAliveMilliseconds: number;
  /** The time within which a client must take an answer that is not paced (`isPaced`), a few megabytes at most. */
  readonly answerMilliseconds: number;
}

/**
 * By default, a host has places for 19 layers: 3 on the device and 16 in the queue. 512 connections are ample for them,
 * and fit into the 1024 file descriptors that many systems allow. The times are short, because a header takes one
 * packet, and because a client that must open a new connection loses little time.
 */
export const DEFAULT_CONNECTION_LIMITS: ConnectionLimits = {
  maxConnections: 512,
  headerMilliseconds: 10_000,
  keepAliveMilliseconds: 60_000,
  answerMilliseconds: 60_000,
};

export interface ListenOptions {
  readonly hostname: string;
  /** The port to listen on. 0 chooses a free port. */
  readonly port: number;
  readonly limits: ConnectionLimits;
  /** Answers one request. Must not throw. `sent` settles when the client has the answer or the connection is closed. */
  readonly handler: (request: Request, sent: Promise<void>) => Promise<Response>;
  /** Whether the body of a response ends by itself if the client takes it too slowly. */
  readonly isPaced: (response: Response) => boolean;
  /** Called if connections cannot be accepted, or must be refused. It must not throw. */
  readonly log: (entry: LogEntry) => void;
  readonly clock: () => number;
}

interface Connection {
  readonly server: Deno.HttpServer;
  readonly cancellation: Cancellation;
  /** The unfinished requests. A promise resolves when the answer is complete, or when the connection has ended. */
  readonly requests: Set<Promise<void>>;
  /** The time since which the connection has had no request. */
  idleSince: number;
  /** Whether the latest request succeeded. If a request was refused, its client may still be sending the body. */
  hasSucceeded: boolean;
}

/** The internal function of Deno that serves HTTP on one connection. */
export type ServeHttpOnConnection = (
  connection: Deno.Conn,
  signal: Cancellation,
  handler: (request: Request, info: Deno.ServeHandlerInfo) => Promise<Response>,
  onError: (error: unknown) => Response,
  onListen: () => void,
) => Deno.HttpServer;

/** The pause after an error of the listener itself, in milliseconds. */
const ACCEPT_PAUSE = 100;

/** The errors for a client that has reset its connection before it was accepted. They say nothing about the host. */
const CLIENT_ERRORS = [
  Deno.errors.NotConnected,
  Deno.errors.ConnectionAborted,
  Deno.errors.ConnectionReset,
];

/** The codes of errors that mean that the process or the system has no file descriptor left. */
const NO_DESCRIPTOR_CODES: readonly unknown[] = ["EMFILE", "ENFILE"];

/** The idle connections that are closed if no descriptor is left. Files need some of the descriptors too. */
const CLOSED_AT_ONCE = 16;

/** The time between two searches for connections that are idle for too long, in milliseconds. */
const SEARCH_INTERVAL = 500;

/** The time between two log entries about refused connections, in milliseconds. */
const REFUSAL_LOG_INTERVAL = 60_000;

export interface HttpListener {
  readonly port: number;
  readonly connections: number;
  /** Accepts no more connections, and waits until all answers were sent, except those that clients do not take. */
  close(): Promise<void>;
  abort(): void;
}

/** Listens for connections and serves HTTP on them. @throws the system's error if the port is not available */
export class Listener implements HttpListener {
  readonly #listener: Deno.TcpListener;
  readonly #connections = new Set<Connection>();
  readonly #searchTimer: ReturnType<typeof setInterval>;
  readonly #accepting: Promise<void>;
  #isClosed = false;
  #lastRefusalLogged = -Infinity;

  constructor(private readonly options: ListenOptions, serveHttp: ServeHttpOnConnection) {
    const { hostname, port } = options;
    this.#listener = Deno.listen({ hostname, port });
    this.#searchTimer = setInterval(() => this.#closeExpired(), SEARCH_INTERVAL);
    this.#accepting = this.#acceptAll(serveHttp);
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  get connections(): number {
    return this.#connections.size;
  }

  async close(): Promise<void> {
    this.#stopAccepting();
    await this.#accepting;
    await Promise.all([...this.#connections].map((connection) => this.#drain(connection)));
    clearInterval(this.#searchTimer);
  }

  abort(): void {
    this.#stopAccepting();
    clearInterval(this.#searchTimer);
    for (const { cancellation } of this.#connections) cancellation.cancel();
  }

  /**
   * Closes a connection after its answers. The last answer may then still be on its way to the client, or the client
   * may still be sending a body that was refused. The usual limits apply to both.
   */
  async #drain(connection: Connection): Promise<void> {
    while (connection.requests.size > 0) await Promise.all(connection.requests);
    const { headerMilliseconds, answerMilliseconds } = this.options.limits;
    await settlesWithin(
      connection.server.shutdown(),
      connection.hasSucceeded ? answerMilliseconds : headerMilliseconds,
    );
  }

  #stopAccepting(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#listener.close();
  }

  async #acceptAll(serveHttp: ServeHttpOnConnection): Promise<void> {
    while (!this.#isClosed) {
      try {
        this.#admit(await this.#listener.accept(), serveHttp);
      } catch (error) {
        if (this.#isClosed) return;
        if (CLIENT_ERRORS.some((ClientError) => error instanceof ClientError)) continue;
        // The next connection waits in the queue of the system, and needs a descriptor.
        if (NO_DESCRIPTOR_CODES.includes((error as { code?: unknown }).code)) this.#closeIdle(CLOSED_AT_ONCE);
        this.#logRefusal(messageOf(error));
        await sleep(ACCEPT_PAUSE);
      }
    }
  }

  /** Serves HTTP on a new connection, or closes it if there are too many. */
  #admit(tcp: Deno.TcpConn, serveHttp: ServeHttpOnConnection): void {
    if (this.#connections.size < this.options.limits.maxConnections || this.#closeIdle(1)) {
      return this.#serve(tcp, serveHttp);
    }
    tcp.close();
    this.#logRefusal(`all ${this.#connections.size} connections have requests`);
  }

  #serve(tcp: Deno.TcpConn, serveHttp: ServeHttpOnConnection): void {
    const { clock, handler, isPaced, limits: { answerMilliseconds } } = this.options;
    const cancellation = new Cancellation();
    const onRequest = async (request: Request, { completed }: Deno.ServeHandlerInfo) => {
      let answerTimer: ReturnType<typeof setTimeout> | undefined;
      const onEnd = () => {
        clearTimeout(answerTimer);
        connection.requests.delete(ended);
        connection.idleSince = clock();
      };
      const ended = completed.then(onEnd, onEnd);
      connection.requests.add(ended);
      const response = await handler(request, completed);
      connection.hasSucceeded = response.ok;
      if (!isPaced(response)) answerTimer = setTimeout(() => cancellation.cancel(), answerMilliseconds);
      return response;
    };
    const server = serveHttp(
      tcp,
      cancellation,
      onRequest,
      () => new Response(null, { status: 500 }),
      () => {},
    );
    const connection: Connection = {
      server,
      cancellation,
      requests: new Set(),
      idleSince: clock(),
      hasSucceeded: false,
    };
    this.#connections.add(connection);
    const remove = () => void this.#connections.delete(connection);
    server.finished.then(remove, remove);
  }

  /** Closes connections that have been without a request for too long. */
  #closeExpired(): void {
    const { clock, limits: { headerMilliseconds, keepAliveMilliseconds } } = this.options;
    for (const { cancellation, requests, idleSince, hasSucceeded } of this.#connections) {
      const limit = hasSucceeded ? keepAliveMilliseconds : headerMilliseconds;
      if (requests.size === 0 && clock() - idleSince >= limit) cancellation.cancel();
    }
  }

  /** Closes the `count` connections that have been idle longest, or all idle ones. Returns whether there was one. */
  #closeIdle(count: number): boolean {
    const idle = [...this.#connections].filter(({ requests, cancellation }) =>
      requests.size === 0 && !cancellation.isCancelled
    );
    idle.sort((a, b) => a.idleSince - b.idleSince);
    for (const { cancellation } of idle.slice(0, count)) cancellation.cancel();
    return idle.length > 0;
  }

  #logRefusal(fault: string): void {
    const now = this.options.clock();
    if (now - this.#lastRefusalLogged < REFUSAL_LOG_INTERVAL) return;
    this.#lastRefusalLogged = now;
    this.options.log({ event: "connections refused", fault, open: this.connections });
  }
}

/** Closes one connection at once. Deno uses it as the AbortSignal of the connection. */
class Cancellation {
  #cancel = () => {};
  isCancelled = false;

  /** Called by Deno with the function that closes the connection. */
  addEventListener(_type: "abort", cancel: () => void): void {
    this.#cancel = cancel;
  }

  cancel(): void {
    this.isCancelled = true;
    try {
      this.#cancel();
    } catch {
      // The connection is ending.
    }
  }
}
