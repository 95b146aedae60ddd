/**
 * A stand-in for the Hugging Face hub to which models can be uploaded: an HTTP server on the loopback interface. It implements the part of
 * the hub's API that `pare push` uses, and checks the requests as the hub does. Files of 1 kB or more are objects of Git LFS, and those of
 * 1 MB or more are uploaded in parts.
 */

import { createHash } from "node:crypto";

/** The sizes in bytes from which files are LFS objects and are uploaded in parts, and the size of a part. */
const LFS_BYTES = 1000, MULTIPART_BYTES = 1_000_000, PART_BYTES = 900_000;

/** The token that may write. */
export const TOKEN = "hf_writes";

interface HubRepository {
  readonly private: boolean;
  /** The contents of the files after the last commit, by name. */
  readonly files: Map<string, Uint8Array>;
  /** The summaries of the commits. */
  readonly commits: string[];
}

/** A running stand-in. */
export interface WritableHub extends AsyncDisposable {
  readonly url: string;
  /** The repositories by name. */
  readonly repositories: Map<string, HubRepository>;
  /** One line per request: `METHOD PATH`. */
  readonly requests: string[];
  /** The statuses of the next answers to uploads of objects. With 200, an upload is handled normally. */
  readonly uploadStatuses: number[];
  /** Called at the upload of an object, before it is answered. */
  onUpload?(): void;
}

interface PathInfo {
  readonly path: string;
  readonly size: number;
}

/** Starts the stand-in on a free port. */
export function serveWritableHub(): WritableHub {
  const objects = new Map<string, Uint8Array>(), parts = new Map<string, Uint8Array<ArrayBuffer>>();
  const hub: Omit<WritableHub, "url"> = {
    repositories: new Map(),
    requests: [],
    uploadStatuses: [],
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname, origin } = new URL(request.url);
    hub.requests.push(`${request.method} ${pathname}`);
    const [, kind, id, part] = /^\/lfs\/(object|complete)\/([0-9a-f]{64})(?:\/(\d+))?$/.exec(pathname) ?? [];
    if (kind === "complete") {
      const { parts: named }: { parts: { partNumber: number; etag: string }[] } = await request.json();
      const blob = new Blob(named.map(({ partNumber }) => parts.get(`${id}/${partNumber}`)!));
      return store(objects, id, await blob.bytes());
    }
    if (kind === "object") {
      hub.onUpload?.();
      const status = hub.uploadStatuses.shift() ?? 200;
      const sent = Number(request.headers.get("content-length")), bytes = await request.bytes();
      if (status !== 200) return refusal(status, "simulated");
      if (sent !== bytes.length) return refusal(411, "an upload needs its length");
      if (request.headers.has("authorization")) return refusal(400, "the storage must not get the token");
      if (part === undefined) return store(objects, id, bytes);
      parts.set(`${id}/${part}`, bytes);
      return new Response(null, { headers: { ETag: `"${part}"` } });
    }
    if (request.headers.get("authorization") !== `Bearer ${TOKEN}`) {
      return refusal(401, "Invalid credentials");
    }
    if (pathname === "/api/repos/create") {
      const { name, organization, visibility } = await request.json(), full = `${organization}/${name}`;
      if (organization !== "me") return refusal(403, `You may not create ${full}`);
      if (hub.repositories.has(full)) return refusal(409, "You already created this model repo");
      hub.repositories.set(full, { private: visibility === "private", files: new Map(), commits: [] });
      return Response.json({ url: `${origin}/${full}`, id: "1" });
    }
    const [, name, action] =
      /^(?:\/api\/models)?\/(me\/[^/]+?)(?:\.git)?\/(revision|tree|preupload|commit|info)\//.exec(pathname) ??
        [];
    const repository = hub.repositories.get(name);
    if (!repository) return refusal(404, "Repository not found");
    switch (action) {
      case "revision":
        return Response.json({ _id: "1", id: name, private: repository.private, lastModified: "2026-01-01" });
      case "tree":
        return Response.json(
          [...repository.files].map(([path, { length }]) => ({ type: "file", path, size: length, oid: "0" })),
        );
      case "preupload": {
        const { files }: { files: PathInfo[] } = await request.json();
        const modeOf = (size: number) => size < LFS_BYTES ? "regular" : "lfs";
        return Response.json({ files: files.map(({ path, size }) => ({ path, uploadMode: modeOf(size) })) });
      }
      case "info": {
        const { objects: wanted, transfers }: {
          objects: { oid: string; size: number }[];
          transfers: string[];
        } = await request.json();
        if (transfers.join() !== "basic,multipart") return refusal(400, "unexpected transfers");
        const answers = wanted.map(({ oid, size }) => ({
          ...{ oid, size },
          actions: objects.has(oid) ? undefined : { upload: uploadAction(origin, oid, size) },
        }));
        return Response.json({ transfer: "basic", objects: answers });
      }
    }
    const lines = (await request.text()).split("\n").map((line) => JSON.parse(line));
    for (const { key, value } of lines) {
      if (key === "file") repository.files.set(value.path, Uint8Array.fromBase64(value.content));
      if (key === "lfsFile") repository.files.set(value.path, objects.get(value.oid)!);
      if (key === "header") repository.commits.push(value.summary);
    }
    const commitOid = String(repository.commits.length).padStart(40, "0");
    return Response.json({ commitOid, commitUrl: `${origin}/${name}/commit/${commitOid}`, hookOutput: "" });
  });
  return Object.assign(hub, { url: `http://127.0.0.1:${server.addr.port}` });
}

function uploadAction(origin: string, oid: string, size: number): object {
  const href = `${origin}/lfs/object/${oid}`;
  if (size < MULTIPART_BYTES) return { href };
  const count = Math.ceil(size / PART_BYTES);
  const urls = Array.from({ length: count }, (_, i) => [String(i + 1).padStart(5, "0"), `${href}/${i + 1}`]);
  const header = { ...Object.fromEntries(urls), chunk_size: String(PART_BYTES) };
  return { href: `${origin}/lfs/complete/${oid}`, header };
}

function store(objects: Map<string, Uint8Array>, oid: string, bytes: Uint8Array): Response {
  if (createHash("sha256").update(bytes).digest("hex") !== oid) return refusal(422, "wrong digest");
  objects.set(oid, bytes);
  return Response.json({});
}

function refusal(status: number, error: string): Response {
  return Response.json({ error }, { status });
}
