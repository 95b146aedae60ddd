/**
 * The application of the edge (Pare's Cloudflare Worker) outside the Workers runtime, with bindings in
 * memory: a bucket, a rate limit that counts, Durable Objects, and a Workflow whose instances never run.
 */

import type { EdgeBindings } from "../../src/edge/bindings.ts";
import { createEdge } from "../../src/edge/app.ts";
import { HostRegistry } from "../../src/edge/hosts/host_registry.ts";
import { JobIndex } from "../../src/edge/jobs/job_index.ts";
import { JobRecord } from "../../src/edge/jobs/job_record.ts";
import { edgeDocument } from "../../src/edge/openapi.ts";
import type { DurableObjectState } from "../../src/edge/runtime.ts";
import { sha256 } from "../../src/protocol/digest.ts";
import { assertDocumented, type ContractDocument } from "../support/documented_answers.ts";
import { MemoryBucket } from "./memory_bucket.ts";
import { memorySql } from "./memory_sql.ts";

/** The number of milliseconds in a week, the default lifetime of jobs. */
const WEEK = 7 * 86_400_000;

/** Returns the sha-256 of a text or of bytes in hexadecimal. */
export async function hexOf(data: string | Uint8Array<ArrayBuffer>): Promise<string> {
  return (await sha256(typeof data === "string" ? new TextEncoder().encode(data) : data)).toHex();
}

/** Returns the state of a new Durable Object. */
export function emptyState(): DurableObjectState {
  return {
    storage: { sql: memorySql(), setAlarm: () => Promise.resolve(), deleteAll: () => Promise.resolve() },
  };
}

/** Returns a namespace whose objects `create` makes at their first use. `names` has their names. */
export function memoryNamespace<T>(create: () => T) {
  const names = new Map<string, T>();
  return {
    names,
    // The methods of the real objects return promises. Callers await them, so plain values do too.
    getByName(name: string): never {
      if (!names.has(name)) names.set(name, create());
      return names.get(name) as never;
    },
  };
}

/** An answer: the status, the headers, and the body, parsed if it is JSON. */
export interface EdgeAnswer {
  readonly status: number;
  readonly headers: Headers;
  // deno-lint-ignore no-explicit-any -- each test knows which members its answer has
  readonly body: any;
}

/**
 * Creates an edge with all bindings in memory. The keys `one` and `two` have every scope. `variables` override
 * the bindings.
 */
export async function memoryEdge(variables: Partial<EdgeBindings> = {}) {
  const edge = createEdge(), bucket = new MemoryBucket(), started: string[] = [], counted: string[] = [];
  const document: ContractDocument = JSON.parse(JSON.stringify(edgeDocument(edge)));
  const records = memoryNamespace(() => new JobRecord(emptyState(), () => WEEK));
  const env: EdgeBindings = {
    PARE_KEYS: `${await hexOf("one")},${await hexOf("two")}`,
    BLOBS: bucket,
    BLOBS_S3_URL: "http://bucket.test/pare",
    BLOBS_ACCESS_KEY_ID: "id",
    BLOBS_SECRET_ACCESS_KEY: "secret",
    RATE: { limit: ({ key }) => Promise.resolve({ success: counted.push(key) > 0 }) },
    JOBS: {
      create: ({ id }) => Promise.resolve({ id: (started.push(id), id) }),
      get: () => Promise.reject(new Error("no instance")),
    },
    JOB_RECORDS: records,
    JOB_INDEXES: memoryNamespace(() => new JobIndex(memorySql(), Date.now, () => WEEK)),
    HOSTS: memoryNamespace(() => new HostRegistry(memorySql(), Date.now)),
    ...variables,
  };

  /** Sends a request with the key `one`. `json` becomes the body. Every answer must be a documented one. */
  async function send(
    method: string,
    path: string,
    { json, key = "one", headers = {} }: { json?: unknown; key?: string; headers?: Record<string, string> } =
      {},
  ): Promise<EdgeAnswer> {
    const content = json === undefined ? undefined : JSON.stringify(json);
    const length = String(new TextEncoder().encode(content).byteLength);
    const sent = {
      Authorization: `Bearer ${key}`,
      ...content !== undefined && { "Content-Type": "application/json", "Content-Length": length },
      ...headers,
    };
    const response = await edge.request(path, { method, headers: sent, body: content }, env);
    await assertDocumented(document, { method, path }, response);
    const isJson = response.headers.get("Content-Type")?.includes("json");
    const text = await response.text(), body = isJson && text !== "" ? JSON.parse(text) : text;
    return { status: response.status, headers: response.headers, body };
  }

  /** Uploads bytes in one part, unless they are stored. Returns the answer to the last request. */
  async function upload(bytes: Uint8Array<ArrayBuffer>, size = bytes.byteLength): Promise<EdgeAnswer> {
    const begun = await send("POST", "/v1/uploads", { json: { size, sha256: await hexOf(bytes) } });
    return "blob" in begun.body ? begun : await completeUpload(begun, bytes);
  }

  /** Stores the only part of a begun upload, and completes the upload. */
  async function completeUpload(begun: EdgeAnswer, bytes: Uint8Array<ArrayBuffer>): Promise<EdgeAnswer> {
    const etag = bucket.putPart(begun.body.parts[0].url, bytes);
    const json = { parts: [{ number: 1, etag }] };
    return await send("POST", `/v1/uploads/${begun.body.upload}/complete`, { json });
  }

  return { edge, env, bucket, records, started, counted, send, upload, completeUpload };
}

/** Collects what the code under test writes with `console.error` while `run` runs. */
export async function loggedErrors(run: () => Promise<unknown>): Promise<string[]> {
  const lines: string[] = [], { error } = console;
  console.error = (line: string) => void lines.push(line);
  try {
    await run();
  } finally {
    console.error = error;
  }
  return lines;
}
