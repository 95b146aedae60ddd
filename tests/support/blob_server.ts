/** Blobs over HTTP for tests, as an S3 bucket with signed URLs serves them: GET and PUT by path, and faults on demand. */

/** A server of blobs. */
export interface BlobServer extends AsyncDisposable {
  readonly origin: string;
  readonly blobs: Map<string, Uint8Array<ArrayBuffer>>;
  /** Answers in place of the next requests, in order. */
  readonly faults: ((request: Request) => Response | Promise<Response>)[];
  /** `METHOD PATH` of every request so far. */
  readonly requests: string[];
}

/** Starts one on a free port of the loopback. */
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
