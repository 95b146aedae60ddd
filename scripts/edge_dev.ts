/**
 * `deno task edge:dev`: runs an edge with one GPU host on this machine until Ctrl-C or SIGTERM. The edge is Pare's Cloudflare
 * Worker. It runs in `wrangler dev --local`, which emulates the bucket, the jobs and the registry of hosts, so no account is
 * needed.
 */

import { Command, InvalidArgumentError } from "commander";
import type { BackendChoice } from "../src/host/backends.ts";
import { addBackendOption, integer } from "../src/cli/options/common_options.ts";
import { type EdgeWithHost, startEdgeWithHost } from "./processes/edge_with_host.ts";

interface Options {
  readonly port: number;
  readonly state: string;
  readonly var: Readonly<Record<string, string>>;
  readonly backend: BackendChoice;
}

/** Runs both processes. @returns the exit code: 0 after a signal, 1 if the edge or the host ended by itself */
async function runEdgeDev({ port, state, var: vars, backend }: Options): Promise<number> {
  const stopSignal = waitForStopSignal();
  const log = (text: string) => void Deno.stderr.writeSync(new TextEncoder().encode(text));
  await using pair = await startEdgeWithHost({ backend, port, folder: state, vars, log });
  const { edge, host } = pair;
  console.log(welcomeText(pair));
  const failure = await Promise.race([
    stopSignal,
    edge.ended.then(() => "The edge ended by itself."),
    host.ended.then(() => "The host ended by itself."),
  ]);
  if (failure !== undefined) console.error(failure);
  return failure === undefined ? 0 : 1;
}

function welcomeText({ edge, host }: EdgeWithHost): string {
  return `edge  ${edge.url}, process ${edge.pid}: stores uploads, runs jobs, and passes other requests on to the host
host  ${host.url}, process ${host.pid}, on ${host.backend}: ${host.adapter}

    curl -sS -D - -o pruned.safetensors -H "Content-Type: application/vnd.safetensors" \\
      --data-binary @tests/fixtures/layers/layer.safetensors "${edge.url}/v1/layers?sparsity=0.5"

A browser finds the playground and the jobs at ${edge.url}/. The HTTP API is described at
${edge.url}/openapi.json. Ctrl-C stops both.`;
}

/** Resolves at the first Ctrl-C or SIGTERM, even if it comes while the processes are starting. */
function waitForStopSignal(): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  // On Windows, Deno cannot listen for SIGTERM.
  for (const name of Deno.build.os === "windows" ? ["SIGINT"] as const : ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(name, () => resolve(undefined));
  }
  return promise;
}

/** Parses one `--var NAME=VALUE` and adds it to the earlier ones. */
function addVariable(text: string, earlier: Options["var"]): Options["var"] {
  const [, name, value] = /^([A-Z_]+)=([^'\n]*)$/.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError("It must be NAME=VALUE.");
  return { ...earlier, [name]: value };
}

if (import.meta.main) {
  const command = new Command("edge:dev")
    .description("start an edge with a GPU host on this machine")
    .option("--port <n>", "port of the edge; 0 is any free port", integer(0, 65535), 8787)
    .option("--state <folder>", "where blobs and jobs are stored; the next start uses them again", "out/edge")
    .option("--var <name=value>", "overrides a variable of wrangler.toml; repeatable", addVariable, {});
  const options = addBackendOption(command).parse(Deno.args, { from: "user" }).opts<Options>();
  Deno.exit(await runEdgeDev(options));
}
