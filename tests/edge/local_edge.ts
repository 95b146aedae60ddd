/**
 * Starts the edge, which is the Cloudflare Worker of `wrangler.toml`, in the real Workers runtime on this
 * machine. It has a local bucket with an S3 endpoint.
 */

import { assertDocumented, type ContractDocument } from "../support/documented_answers.ts";
import { createTestHarness, type TestHarness, unstable_startWorker } from "wrangler";

/** The credentials that `wrangler.toml` sets for the local bucket. */
const S3_SECRETS = { BLOBS_ACCESS_KEY_ID: "local", BLOBS_SECRET_ACCESS_KEY: "local-secret" };

/** A running edge. */
export interface LocalEdge {
  /** The origin, without a slash at the end. */
  readonly url: string;
  readonly harness: TestHarness;
  /** Sends a request to a path of the edge. Every answer must be one that the OpenAPI document describes. */
  request(path: string, init?: RequestInit): Promise<Response>;
  /** Sends JSON with POST. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  close(): Promise<void>;
}

/** Keeps no connection for a later request: the local runtime closes an idle one, perhaps just when that request is sent. */
const client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });

/** Sends a request to the edge or its bucket, with a connection of its own. */
export function fetchOnce(url: string, init?: RequestInit): Promise<Response> {
  return fetch(url, { ...init, client });
}

/** Starts the edge. No data leaves the machine. `vars` override the variables of `wrangler.toml`. */
export async function startEdge(
  vars: Record<string, string> = {},
  secrets: Record<string, string> = {},
): Promise<LocalEdge> {
  Deno.env.set("CI", "1");
  Deno.env.set("CLOUDFLARE_CF_FETCH_ENABLED", "false");
  const root = new URL("../../", import.meta.url).pathname;
  const options = (s3: string) => ({
    root,
    workers: [{
      configPath: "./wrangler.toml",
      vars: { EDGE_HOST: "", EDGE_OPEN: "true", BLOBS_S3_URL: s3, ...vars },
      secrets: { ...S3_SECRETS, ...secrets },
    }],
  });
  const harness = createTestHarness(options(""));
  // The bucket's endpoint is at the port of the edge, which is chosen when the edge starts to listen.
  const { url } = await harness.listen();
  await harness.update(options(`${url.origin}/cdn-cgi/local/r2/s3/pare-blobs`));
  const document: ContractDocument = await (await fetch(`${url.origin}/openapi.json`)).json();
  const request = async (path: string, init?: RequestInit) => {
    const response = await fetchOnce(url.origin + path, init);
    await assertDocumented(document, { method: init?.method ?? "GET", path }, response);
    return response;
  };
  return {
    url: url.origin,
    harness,
    request,
    post: (path, body, headers = {}) =>
      request(path, {
        method: "POST",
        headers: { "Content-Type": "application/json", ...headers },
        body: JSON.stringify(body),
      }),
    close: () => harness.close(),
  };
}

/** The bindings of a Worker in the form that `unstable_startWorker` accepts. */
type Bindings = NonNullable<Parameters<typeof unstable_startWorker>[0]["bindings"]>;

/**
 * Starts the edge as `wrangler dev` does. Tests of forwarded requests need this, because the harness of {@link startEdge} sends the Worker's
 * own requests through this process's `fetch`, which drops the Content-Length of a stream. `bindings` override those of `wrangler.toml`.
 */
export async function startDevEdge(
  vars: Record<string, string>,
  bindings: Bindings = {},
): Promise<DevWorker> {
  const texts = Object.entries({ EDGE_HOST: "", EDGE_OPEN: "true", ...vars }).map(
    ([name, value]) => [name, { type: "plain_text", value }] as const,
  );
  const config = new URL("../../wrangler.toml", import.meta.url).pathname;
  return await startWorker(config, { ...Object.fromEntries(texts), ...bindings });
}

/** A Worker that runs in `wrangler dev`. */
export interface DevWorker {
  readonly url: string;
  close(): Promise<void>;
}

/** Starts the Worker of a `wrangler.toml` as `wrangler dev` does. No data leaves the machine. */
export async function startWorker(config: string, bindings: Bindings): Promise<DevWorker> {
  Deno.env.set("CI", "1");
  Deno.env.set("CLOUDFLARE_CF_FETCH_ENABLED", "false");
  const worker = await unstable_startWorker({
    config,
    bindings,
    dev: {
      server: { hostname: "127.0.0.1", port: 0 },
      logLevel: "none",
      watch: false,
      persist: false,
      inspector: false,
    },
  });
  return { url: (await worker.url).origin, close: () => worker.dispose() };
}
