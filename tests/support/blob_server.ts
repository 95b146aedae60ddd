/** A blob server for tests. Like an S3 bucket with signed URLs, it serves GET and PUT by path. Tests can inject faults. */

/** A running blob server. */
export interface BlobServer extends AsyncDisposable {
  readonly origin: string;
  /** The stored blobs, by path. */
  readonly blobs: Map<string, Uint8Array<ArrayBuffer>>;
  /** Functions that answer the next requests, in order, instead of the server. */
  readonly faults: ((request: Request) => Response | Promise<Response>)[];
  /** All requests so far, as `METHOD PATH`. */
  readonly requests: string[];
}

/** Starts a blob server on a free loopback port. */
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
