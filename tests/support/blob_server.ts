/**
 * An HTTP server for tests. It stores blobs (byte sequences, one per URL path) in memory, handles GET and PUT
 * like an S3 bucket with signed URLs, and can simulate faults.
 */

/** A running blob server. */
export interface BlobServer extends AsyncDisposable {
  readonly origin: string;
  /** The stored blobs, by URL path. */
  readonly blobs: Map<string, Uint8Array<ArrayBuffer>>;
  /** Handlers for the next requests, in order. Each handler is used once, in place of the normal handling. */
  readonly faults: ((request: Request) => Response | Promise<Response>)[];
  /** One line per received request: `METHOD PATH`. */
  readonly requests: string[];
}

/** Starts a server on a free port of the loopback interface. */
export function startBlobServer(): BlobServer {
  const blobs = new Map<string, Uint8Array<ArrayBuffer>>(),
    faults: BlobServer["faults"] = [],
    requests: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    requests.push(`${request.method} ${pathname}`);
    const fault = faults.shift();
    if (fault) return await fault(request);
    if (request.method === "PUT") {
      if (!request.headers.has("Content-Length")) {
        return new Response("MissingContentLength", { status: 411 });
      }
      blobs.set(pathname, await request.bytes());
      return new Response();
    }
    const blob = blobs.get(pathname);
    return blob ? new Response(blob) : new Response("NoSuchKey", { status: 404 });
  });
  return {
    origin: `http://127.0.0.1:${server.addr.port}`,
    blobs,
    faults,
    requests,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
