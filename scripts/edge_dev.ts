/**
 * `deno task edge:dev`: an edge on this machine with one GPU host behind it, until Ctrl-C or SIGTERM ends both. The edge is
 * `wrangler dev --local`, so that bucket, jobs and registry are emulated and no account is needed.
 */

import { Command, InvalidArgumentError } from "commander";
import type { BackendChoice } from "../src/host/backends.ts";
import { addBackendOption } from "../src/cli/options/common_options.ts";
import { integer } from "../src/cli/options/numbers.ts";
import { type EdgeWithHost, startEdgeWithHost } from "./edge_with_host.ts";

interface Options {
  readonly port: number;
  readonly state: string;
  readonly var: Readonly<Record<string, string>>;
  readonly backend: BackendChoice;
}

async function edgeDev({ port, state, var: vars, backend }: Options): Promise<number> {
  const told = toldToStop();
  const log = (text: string) => void Deno.stderr.writeSync(new TextEncoder().encode(text));
  await using running = await startEdgeWithHost({ backend, port, folder: state, vars, log });
  const { edge, host } = running;
  console.log(welcome(running));
  const ended = await Promise.race([
    told,
    edge.ended.then(() => "the edge ended by itself"),
    host.ended.then(() => "the host ended by itself"),
  ]);
  if (ended !== undefined) console.error(ended);
  return ended === undefined ? 0 : 1;
}

function welcome({ edge, host }: EdgeWithHost): string {
  return `edge  ${edge.url}, process ${edge.pid}: uploads, jobs, and what it passes on to the host
host  ${host.url}, process ${host.pid}, on ${host.backend}: ${host.adapter}

    curl -sS -D - -o pruned.safetensors -H "Content-Type: application/vnd.safetensors" \\
      --data-binary @tests/fixtures/layers/layer.safetensors "${edge.url}/v1/layers?sparsity=0.5"

The contract is at ${edge.url}/openapi.json. Ctrl-C stops both.`;
}

/** Resolves at the first Ctrl-C or SIGTERM, also while both are still starting. */
function toldToStop(): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  // Windows has no SIGTERM to listen for.
  for (const name of Deno.build.os === "windows" ? ["SIGINT"] as const : ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(name, () => resolve(undefined));
  }
  return promise;
}

/** `NAME=VALUE`, any number of times. */
function variable(text: string, others: Options["var"]): Options["var"] {
  const [, name, value] = /^([A-Z_]+)=([^'\n]*)$/.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError("It must be NAME=VALUE.");
  return { ...others, [name]: value };
}

if (import.meta.main) {
  const command = new Command("edge:dev")
    .description("start an edge and a GPU host on this machine")
    .option("--port <n>", "the edge's port; 0 is any free one", integer(0, 65535), 8787)
    .option("--state <folder>", "where blobs and jobs are kept; the next start goes on with them", "out/edge")
    .option("--var <name=value>", "a variable in place of that of wrangler.toml; repeatable", variable, {});
  const options = addBackendOption(command).parse(Deno.args, { from: "user" }).opts<Options>();
  Deno.exit(await edgeDev(options));
}
