/**
 * The edge as processes of its own: `wrangler dev --local`, with the bucket, Durable Objects and Workflows of `wrangler.toml` emulated on
 * this machine, for development, the benches and the tests that look at its processes. Nothing leaves the machine, and no
 * account is needed. It reloads the Worker when its files change. GPU hosts are `child_host.ts`'s.
 */

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** An edge that listens. Dispose of it: it stops only when told. */
export interface ChildEdge extends AsyncDisposable {
  /** Origin, without a slash at the end. */
  readonly url: string;
  /** wrangler; the Worker runs in a process that it starts. */
  readonly pid: number;
  /** Resolves when it has ended, for whatever reason. */
  readonly ended: Promise<unknown>;
}

/** How to start it. */
export interface EdgeOptions {
  /** Where the bucket, the jobs and the settings are kept: the next edge on the same folder goes on with them. */
  readonly folder: string;
  /** 0: any free one. */
  readonly port?: number;
  /** Go over those of `wrangler.toml`, and hold the secrets as well. */
  readonly vars?: Readonly<Record<string, string>>;
  /** Told what wrangler says, as it comes. */
  readonly log?: (text: string) => void;
}

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** wrangler itself, as the lock file has it: its `bin` would start it as yet another process between. */
const WRANGLER = createRequire(import.meta.url).resolve("wrangler");

const HOSTNAME = "127.0.0.1";

/** A first start compiles the Worker on a busy machine. */
const START_MILLISECONDS = 60_000;

/** How wrangler says that it listens. */
const READY = /Ready on http/;

/** What is kept of what it says, for who is told that it did not start. */
const TAIL_CHARACTERS = 4000;

/** The settings under which wrangler asks nothing and calls nobody. */
const OFFLINE = {
  CI: "1",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_SEND_ERROR_REPORTS: "false",
  NO_COLOR: "1",
};

/** Starts it and waits until it listens. @throws {Error} it does not: holds the last that it said */
export async function startEdge({ folder, port = 0, vars = {}, log }: EdgeOptions): Promise<ChildEdge> {
  const url = `http://${HOSTNAME}:${port || freePort()}`;
  await Deno.mkdir(folder, { recursive: true });
  const place = await Deno.realPath(folder), settings = `${place}/settings.env`;
  await writeSettings(settings, {
    EDGE_OPEN: "true",
    PARE_HOST: "",
    BLOBS_S3_URL: `${url}/cdn-cgi/local/r2/s3/pare-blobs`,
    // As wrangler.toml has them for this machine.
    BLOBS_ACCESS_KEY_ID: "local",
    BLOBS_SECRET_ACCESS_KEY: "local-secret",
    ...vars,
  });
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--quiet", WRANGLER, "dev", "--local", "--show-interactive-dev-session=false"],
      ...["--ip", HOSTNAME, "--port", new URL(url).port, "--inspector-port", "0"],
      ...["--persist-to", `${place}/state`, "--env-file", settings],
    ],
    cwd: ROOT,
    env: { ...OFFLINE, WRANGLER_LOG_PATH: `${place}/logs` },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let said = "", ended = false;
  const ready = Promise.withResolvers<boolean>();
  const listen = async (stream: ReadableStream<Uint8Array>) => {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      log?.(text);
      said = (said + text).slice(-TAIL_CHARACTERS);
      if (READY.test(said)) ready.resolve(true);
    }
  };
  const end = Promise.all([child.status, listen(child.stdout), listen(child.stderr)]).then(() => {
    ended = true;
    ready.resolve(false);
  });
  const stop = async () => {
    if (!ended) child.kill("SIGTERM");
    await end;
  };
  const timer = setTimeout(() => ready.resolve(false), START_MILLISECONDS);
  const listens = await ready.promise;
  clearTimeout(timer);
  if (listens) return { url, pid: child.pid, ended: end, [Symbol.asyncDispose]: stop };
  await stop();
  throw new Error(`the edge did not start: ${said.trim()}`);
}

/** For this user's eyes: it holds secrets. */
async function writeSettings(path: string, settings: Readonly<Record<string, string>>): Promise<void> {
  const lines = Object.entries(settings).map(([name, value]) => `${name}='${value}'\n`);
  await Deno.writeTextFile(path, lines.join(""), { mode: 0o600 });
}

/** A port of this machine that is free now, for who must name one before it listens. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: HOSTNAME, port: 0 });
  return (listener.addr as Deno.NetAddr).port;
}
