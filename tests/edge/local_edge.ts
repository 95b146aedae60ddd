/** The edge as `wrangler.toml` describes it, in the real runtime on this machine, with a local bucket and its S3 endpoint. */

import { createTestHarness, type TestHarness, unstable_startWorker } from "wrangler";

/** The bucket's local credentials, as `wrangler.toml` has them. */
const S3_SECRETS = { BLOBS_ACCESS_KEY_ID: "local", BLOBS_SECRET_ACCESS_KEY: "local-secret" };

/** A running edge. */
export interface LocalEdge {
  /** Origin, without a slash at the end. */
  readonly url: string;
  readonly harness: TestHarness;
  /** Sends a request to a path of it. */
  request(path: string, init?: RequestInit): Promise<Response>;
  /** POSTs JSON. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  close(): Promise<void>;
}

/** Starts it. Nothing it says leaves the machine. `vars` override those of `wrangler.toml`. */
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
  // Where the bucket's endpoint is, is known only now.
  const { url } = await harness.listen();
  await harness.update(options(`${url.origin}/cdn-cgi/local/r2/s3/pare-blobs`));
  const request = (path: string, init?: RequestInit) => fetch(url.origin + path, init);
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

/** A binding as `wrangler` describes it to itself. */
type Bindings = NonNullable<Parameters<typeof unstable_startWorker>[0]["bindings"]>;

/**
 * Starts it as `wrangler dev` does, for what the harness changes: that one sends a Worker's own requests through this process's `fetch`, which
 * drops the Content-Length of a stream. `bindings` override those of `wrangler.toml`.
 */
export async function startDevEdge(
  vars: Record<string, string>,
  bindings: Bindings = {},
): Promise<{ readonly url: string; close(): Promise<void> }> {
  Deno.env.set("CI", "1");
  Deno.env.set("CLOUDFLARE_CF_FETCH_ENABLED", "false");
  const texts = Object.entries({ EDGE_HOST: "", EDGE_OPEN: "true", ...vars }).map(
    ([name, value]) => [name, { type: "plain_text", value }] as const,
  );
  const worker = await unstable_startWorker({
    config: new URL("../../wrangler.toml", import.meta.url).pathname,
    bindings: { ...Object.fromEntries(texts), ...bindings },
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
