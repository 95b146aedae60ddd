/** Starts a Pare host (`pare serve`) in a process of its own, for the demo, the benches and the tests. */

import { fileURLToPath } from "node:url";

/** A running host. It runs until it is disposed of. */
export interface ChildHost extends AsyncDisposable {
  readonly url: string;
  readonly backend: string;
  readonly adapter: string;
  readonly pid: number;
  /** Resolves when the process has ended for any reason. */
  readonly ended: Promise<unknown>;
}

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/**
 * Starts `pare serve` with the options `args` and waits until it listens. The host uses a free port unless `args` names one.
 * `env` is added to the environment of this process, which the host inherits.
 * @throws {Error} if the process ends before it listens. The message holds its standard error
 */
export async function startHost(
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<ChildHost> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", MAIN, "serve", "--port", "0", "--json", ...args],
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  // Standard error is read all the time, because a full pipe would block the host.
  const errorText = new Response(child.stderr).text();
  const line = await firstLine(child.stdout);
  let ended = false;
  const status = child.status.finally(() => ended = true);
  const stop = async () => {
    if (!ended) child.kill("SIGTERM");
    await status;
    await errorText;
  };
  const answer = JSON.parse(line ?? "{}"); // the host, or { error } if it did not start
  if (answer.url === undefined) {
    await status;
    throw new Error(`the host did not start: ${(await errorText).trim()}`);
  }
  return { ...answer, pid: child.pid, ended: status, [Symbol.asyncDispose]: stop };
}

/** Reads the first line of a stream. Returns undefined if the stream ends before a line break. */
async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string | undefined> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const end = text.indexOf("\n");
    if (end >= 0) return text.slice(0, end);
  }
}
