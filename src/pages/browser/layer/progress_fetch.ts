/** Sends requests of the SDK with XMLHttpRequest, because `fetch` does not report how much of a body has been sent. */

export interface Progress {
  /** `send`: the body is on its way. `wait`: the server works. `receive`: the answer is on its way. */
  readonly phase: "send" | "wait" | "receive";
  readonly method: string;
  readonly path: string;
  /** Bytes of the body that were transferred. */
  readonly loaded: number;
  /** The length of the body in bytes, or 0 if it is not known. */
  readonly total: number;
}

/** Returns a function like `fetch` that reports its progress. */
export function progressFetch(
  onProgress: (progress: Progress) => void,
): (request: Request) => Promise<Response> {
  return async (request) => {
    const body = request.method === "GET" || request.method === "HEAD" ? undefined : await request.blob();
    return await send(request, body, onProgress);
  };
}

function send(
  request: Request,
  body: Blob | undefined,
  onProgress: (progress: Progress) => void,
): Promise<Response> {
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const { method, url, signal } = request, path = new URL(url).pathname, call = new XMLHttpRequest();
  const report = (phase: Progress["phase"], event?: ProgressEvent) =>
    onProgress({
      phase,
      method,
      path,
      loaded: event?.loaded ?? 0,
      total: event?.lengthComputable ? event.total : 0,
    });
  call.open(method, url);
  call.responseType = "blob";
  for (const [name, value] of request.headers) call.setRequestHeader(name, value);
  call.upload.addEventListener("progress", (event) => report("send", event));
  call.upload.addEventListener("load", () => report("wait"));
  call.addEventListener("progress", (event) => report("receive", event));
  call.addEventListener("load", () => resolve(toResponse(method, call)));
  call.addEventListener("error", () => reject(new TypeError("the connection failed")));
  call.addEventListener("abort", () => reject(signal.reason));
  signal.addEventListener("abort", () => call.abort(), { once: true });
  if (signal.aborted) reject(signal.reason);
  else call.send(body);
  return promise;
}

function toResponse(method: string, call: XMLHttpRequest): Response {
  const lines = call.getAllResponseHeaders().trim().split(/[\r\n]+/).filter((line) => line.includes(":"));
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  const hasNoBody = method === "HEAD" || call.status === 204 || call.status === 304;
  return new Response(hasNoBody ? null : call.response, { status: call.status, headers });
}
