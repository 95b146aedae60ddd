/**
 * A hub on loopback: one model with its files, served as the Hugging Face hub does as far as the client asks. It can break off
 * downloads, hold models back, serve other bytes than it lists, and be gone.
 */

import { createHash } from "node:crypto";

/** A served model. */
export interface FakeModel {
  readonly repo: string;
  /** Branches and tags, by name. */
  readonly revisions: Record<string, string>;
  /** Top-level files of every commit. */
  files: Record<string, string | Uint8Array<ArrayBuffer>>;
}

/** What was asked, and what goes wrong. */
export interface FakeHub extends AsyncDisposable {
  readonly url: string;
  /** `METHOD PATH RANGE`, one a request. */
  readonly requests: string[];
  /** The last token that came. */
  token?: string;
  /** Whole downloads break off after so many bytes. */
  breakAfter?: number;
  /** Statuses given to the next requests, one each, 200 for as it is. */
  readonly statuses: number[];
  /** Whole downloads stand still after {@link breakAfter}, rather than end. */
  isStalling?: boolean;
  /** The listing, where it is not that of the files. */
  listing?: object[];
  /** Bytes served in the place of the listed ones. */
  readonly forged: Record<string, Uint8Array<ArrayBuffer>>;
}

const bytesOf = (content: string | Uint8Array<ArrayBuffer>) =>
  typeof content === "string" ? new TextEncoder().encode(content) : content;

/** The digest that git gives a file. */
export function gitDigest(content: string | Uint8Array<ArrayBuffer>): string {
  const bytes = bytesOf(content);
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

/** Large files are kept by sha-256, as on the hub. */
function entryOf(path: string, content: string | Uint8Array<ArrayBuffer>): object {
  const bytes = bytesOf(content);
  const entry = { type: "file", path, size: bytes.length, oid: gitDigest(content) };
  if (!/\.(safetensors|bin)$/.test(path)) return entry;
  const oid = createHash("sha256").update(bytes).digest("hex");
  return { ...entry, lfs: { oid, size: bytes.length, pointerSize: 130 } };
}

/** Serves `model` until it is disposed of. */
export function serveHub(model: FakeModel): FakeHub {
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
    if (status !== 200) return Response.json({ error: `made up ${status}` }, { status });
    return answer(model, hub, decodeURIComponent(pathname), range);
  });
  return Object.assign(hub, { url: `http://127.0.0.1:${server.addr.port}` });
}

function answer(model: FakeModel, hub: Omit<FakeHub, "url">, path: string, range: string): Response {
  const [, kind, revision, name] =
    path.match(new RegExp(`^(?:/api/models)?/${model.repo}/(revision|tree|resolve)/([^/]+)(?:/(.+))?$`)) ??
      [];
  const commit = model.revisions[revision] ??
    Object.values(model.revisions).find((known) => known === revision);
  if (kind === undefined) return Response.json({ error: "Repository not found" }, { status: 404 });
  if (commit === undefined) return Response.json({ error: `Invalid rev id: ${revision}` }, { status: 404 });
  if (kind === "revision") {
    return Response.json({ _id: "1", id: model.repo, sha: commit, lastModified: "2024-01-01" });
  }
  if (kind === "tree") {
    const files = Object.entries(model.files).map(([file, content]) => entryOf(file, content));
    if (hub.listing) return Response.json(hub.listing);
    return Response.json([{ type: "directory", path: "onnx", size: 0, oid: "0" }, ...files]);
  }
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
      if (sent) return controller.close(); // short of its Content-Length: the connection ends
      controller.enqueue(part.slice(0, breakAfter));
      sent = true;
    },
  });
  return new Response(body, { status, headers });
}
