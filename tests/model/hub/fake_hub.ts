/**
 * A fake Hugging Face hub for tests: an HTTP server on the loopback interface that serves the files of one model. It
 * implements the part of the hub's API that Pare uses, and it can simulate faults: error statuses, interrupted and stalled
 * downloads, wrong listings and wrong bytes.
 */

import { createHash } from "node:crypto";
import { dirname } from "node:path/posix";

/** The model or the data set that the hub serves. */
export interface FakeModel {
  /** The name of the repository, in the form `OWNER/NAME`. */
  readonly repo: string;
  /** The commits of the branches and tags, by name. */
  readonly revisions: Record<string, string>;
  /** The files by their paths. They are the same for every commit. */
  files: Record<string, string | Uint8Array<ArrayBuffer>>;
}

/** A running fake hub: the requests that it has received, and the faults that it simulates. */
export interface FakeHub extends AsyncDisposable {
  readonly url: string;
  /** One line per request: `METHOD PATH RANGE`. */
  readonly requests: string[];
  /** The Authorization header of the last request. */
  token?: string;
  /** If set, every response with file content ends after this many bytes. */
  breakAfter?: number;
  /** The statuses of the next responses, in order. With 200, the request is handled normally. */
  readonly statuses: number[];
  /** If true, a response does not end after {@link breakAfter} bytes but sends nothing more. */
  isStalling?: boolean;
  /** If set, the hub returns this listing of files instead of the true one. */
  listing?: object[];
  /** If set, every page of the listing names this URL as the next page. */
  nextPage?: string;
  /** If set, requests for the contents of files are redirected to the same path of this origin. */
  redirectTo?: string;
  /** Contents that the hub serves instead of the listed ones, by file name. */
  readonly forged: Record<string, Uint8Array<ArrayBuffer>>;
}

const bytesOf = (content: string | Uint8Array<ArrayBuffer>) =>
  typeof content === "string" ? new TextEncoder().encode(content) : content;

/** Git's object id of a file, which the hub lists as the digest of a small file. */
export function gitDigest(content: string | Uint8Array<ArrayBuffer>): string {
  const bytes = bytesOf(content);
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

/** The entry of a file in the listing. As on the hub, a weight file is listed with its SHA-256. */
function entryOf(path: string, content: string | Uint8Array<ArrayBuffer>): object {
  const bytes = bytesOf(content);
  const entry = { type: "file", path, size: bytes.length, oid: gitDigest(content) };
  if (!/\.(safetensors|bin|gz|parquet)$/.test(path)) return entry;
  const oid = createHash("sha256").update(bytes).digest("hex");
  return { ...entry, lfs: { oid, size: bytes.length, pointerSize: 130 } };
}

/** Serves the repositories on a free port until the returned object is disposed. */
export function serveHub(...repositories: readonly FakeModel[]): FakeHub {
  const hub: Omit<FakeHub, "url"> = {
    requests: [],
    statuses: [],
    forged: {},
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { pathname } = new URL(request.url);
    const range = request.headers.get("range") ?? "";
    hub.requests.push(`${request.method} ${pathname} ${range}`.trim());
    hub.token = request.headers.get("authorization") ?? undefined;
    const status = hub.statuses.shift() ?? 200;
    if (status !== 200) return Response.json({ error: `simulated status ${status}` }, { status });
    const path = decodeURIComponent(pathname);
    const wanted = repositories.find(({ repo }) => path.includes(`/${repo}/`)) ?? repositories[0];
    return respond(wanted, hub, path, range);
  });
  return Object.assign(hub, { url: `http://127.0.0.1:${server.addr.port}` });
}

function respond(model: FakeModel, hub: Omit<FakeHub, "url">, path: string, range: string): Response {
  const [, kind, revision, name] = path.match(
    new RegExp(
      `^(?:/api/models|/api/datasets|/datasets)?/${model.repo}/(revision|tree|resolve)/([^/]+)(?:/(.+))?$`,
    ),
  ) ??
    [];
  const commit = model.revisions[revision] ??
    Object.values(model.revisions).find((commit) => commit === revision);
  if (kind === undefined) return Response.json({ error: "Repository not found" }, { status: 404 });
  if (commit === undefined) return Response.json({ error: `Invalid rev id: ${revision}` }, { status: 404 });
  if (kind === "revision") {
    return Response.json({ _id: "1", id: model.repo, sha: commit, lastModified: "2024-01-01" });
  }
  if (kind === "tree") {
    const files = Object.entries(model.files).filter(([file]) => dirname(file) === (name ?? "."))
      .map(([file, content]) => entryOf(file, content));
    const headers: HeadersInit = hub.nextPage ? { Link: `<${hub.nextPage}>; rel="next"` } : {};
    if (hub.listing) return Response.json(hub.listing, { headers });
    return Response.json([{ type: "directory", path: "onnx", size: 0, oid: "0" }, ...files], {
      headers,
    });
  }
  if (hub.redirectTo) return Response.redirect(hub.redirectTo + path, 302);
  const content = hub.forged[name] ?? model.files[name];
  if (content === undefined) {
    return Response.json({ error: "Entry not found" }, {
      status: 404,
      headers: { "X-Error-Code": "EntryNotFound" },
    });
  }
  return serveBytes(bytesOf(content), range, range === "bytes=0-0" ? {} : hub);
}

function serveBytes(
  bytes: Uint8Array<ArrayBuffer>,
  range: string,
  { breakAfter, isStalling }: Pick<FakeHub, "breakAfter" | "isStalling">,
): Response {
  const [, from = "0", to = `${bytes.length - 1}`] = range.match(/^bytes=(\d+)-(\d+)$/) ?? [];
  const part = bytes.slice(Number(from), Number(to) + 1);
  const headers: Record<string, string> = { ETag: '"etag"', "Content-Length": `${part.length}` };
  if (range) headers["Content-Range"] = `bytes ${from}-${to}/${bytes.length}`;
  const status = range ? 206 : 200;
  if (breakAfter === undefined || breakAfter >= part.length) return new Response(part, { status, headers });
  let sent = false;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (sent && isStalling) return new Promise(() => {});
      if (sent) return controller.close(); // fewer bytes than Content-Length, so the connection is closed
      controller.enqueue(part.slice(0, breakAfter));
      sent = true;
    },
  });
  return new Response(body, { status, headers });
}
