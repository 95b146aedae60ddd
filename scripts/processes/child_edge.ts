/**
 * Starts the edge on this machine in a process of its own, for development, the benches and the tests. The edge is Pare's
 * Cloudflare Worker. Here it runs in `wrangler dev --local`, which emulates the bucket, the Durable Objects and the Workflows of
 * `wrangler.toml`. No data leaves the machine, and no account is needed. The Worker is reloaded when its source files change.
 */

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** A running edge. It runs until it is disposed of. */
export interface ChildEdge extends AsyncDisposable {
  /** The origin, without a slash at the end. */
  readonly url: string;
  /** The id of the wrangler process. wrangler runs the Worker in a child process. */
  readonly pid: number;
  /** Resolves when wrangler has ended for any reason. */
  readonly ended: Promise<unknown>;
}

/** Options of {@link startEdge}. */
export interface ChildEdgeOptions {
  /** The folder for the bucket, the jobs and the settings. An edge that is started on the same folder later has the same data. */
  readonly folder: string;
  /** The port to listen on. 0, the default, means any free port. */
  readonly port?: number;
  /** Variables and secrets of the Worker. They override those of `wrangler.toml`. */
  readonly vars?: Readonly<Record<string, string>>;
  /** Called with each piece of wrangler's output. */
  readonly log?: (text: string) => void;
}

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/**
 * The main module of wrangler in the locked version. It is started directly, because the `wrangler` command would start it in
 * another process.
 */
const WRANGLER = createRequire(import.meta.url).resolve("wrangler");

const HOSTNAME = "127.0.0.1";

/** The longest time until the edge listens. The first start compiles the Worker, which takes long on a busy machine. */
const START_MILLISECONDS = 60_000;

/** The text that wrangler prints when it listens. */
const READY = /Ready on http/;

/** How much of the output is stored for the error message of a failed start. */
const MAX_OUTPUT_CHARACTERS = 4000;

/** An environment in which wrangler asks no questions and makes no requests to other machines. */
const OFFLINE = {
  CI: "1",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_SEND_ERROR_REPORTS: "false",
  NO_COLOR: "1",
};

/** Starts the edge and waits until it listens. @throws {Error} if it does not start. The message holds the end of its output */
export async function startEdge({ folder, port = 0, vars = {}, log }: ChildEdgeOptions): Promise<ChildEdge> {
  const url = `http://${HOSTNAME}:${port || freePort()}`;
  await Deno.mkdir(folder, { recursive: true });
  const root = await Deno.realPath(folder), settings = `${root}/settings.env`;
  await writeSettings(settings, {
    EDGE_OPEN: "true",
    EDGE_HOST: "",
    BLOBS_S3_URL: `${url}/cdn-cgi/local/r2/s3/pare-blobs`,
    // The credentials that wrangler.toml sets for the local bucket.
    BLOBS_ACCESS_KEY_ID: "local",
    BLOBS_SECRET_ACCESS_KEY: "local-secret",
    ...vars,
  });
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--quiet", WRANGLER, "dev", "--local", "--show-interactive-dev-session=false"],
      ...["--ip", HOSTNAME, "--port", new URL(url).port, "--inspector-port", "0"],
      ...["--persist-to", `${root}/state`, "--env-file", settings],
    ],
    cwd: ROOT,
    env: { ...OFFLINE, WRANGLER_LOG_PATH: `${root}/logs` },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let output = "", ended = false;
  const ready = Promise.withResolvers<boolean>();
  const follow = async (stream: ReadableStream<Uint8Array>) => {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      log?.(text);
      output = (output + text).slice(-MAX_OUTPUT_CHARACTERS);
      if (READY.test(output)) ready.resolve(true);
    }
  };
  const end = Promise.all([child.status, follow(child.stdout), follow(child.stderr)]).then(() => {
    ended = true;
    ready.resolve(false);
  });
  const stop = async () => {
    if (!ended) child.kill("SIGTERM");
    await end;
  };
  const timer = setTimeout(() => ready.resolve(false), START_MILLISECONDS);
  const isReady = await ready.promise;
  clearTimeout(timer);
  if (isReady) return { url, pid: child.pid, ended: end, [Symbol.asyncDispose]: stop };
  await stop();
  throw new Error(`the edge did not start: ${output.trim()}`);
}

/** Writes the settings as a file that only this user can read, because it holds secrets. */
async function writeSettings(path: string, settings: Readonly<Record<string, string>>): Promise<void> {
  const lines = Object.entries(settings).map(([name, value]) => `${name}='${value}'\n`);
  await Deno.writeTextFile(path, lines.join(""), { mode: 0o600 });
}

/** A range of ports below the range from which Linux chooses the ports of connections and of listeners on port 0. */
const FIRST_PORT = 20_000, LAST_PORT = 32_000;

/** Returns a port of this machine that is free at the moment, for a process whose port must be known before it starts. */
export function freePort(): number {
  while (true) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT));
    try {
      Deno.listen({ hostname: HOSTNAME, port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
