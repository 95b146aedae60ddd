/** A Pare host as a process of its own, started by the command line, for the demo, the benches and the tests. */

import { fileURLToPath } from "node:url";

/** A host that listens. Dispose of it: it stops only when told. */
export interface ChildHost extends AsyncDisposable {
  readonly url: string;
  readonly backend: string;
  readonly adapter: string;
  /** The process, for those who measure it. */
  readonly pid: number;
  /** Resolves when it has ended, for whatever reason. */
  readonly ended: Promise<unknown>;
}

const MAIN = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

/**
 * Starts `pare serve` on a free port with `args`, and `env` added to the environment, and waits until it listens.
 * @throws {Error} it ended before it listened: holds what it said
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
  const said = new Response(child.stderr).text(); // read all along, or a full pipe would stop the host
  const line = await firstLine(child.stdout);
  let ended = false;
  const status = child.status.finally(() => ended = true);
  const stop = async () => {
    if (!ended) child.kill("SIGTERM");
    await status;
    await said;
  };
  if (line === undefined) {
    await status;
    throw new Error(`the host did not start: ${(await said).trim()}`);
  }
  return { ...JSON.parse(line), pid: child.pid, ended: status, [Symbol.asyncDispose]: stop };
}

/** The first line of a stream; undefined where it ends without one. */
async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string | undefined> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const end = text.indexOf("\n");
    if (end >= 0) return text.slice(0, end);
  }
}
