/**
 * `deno task readme`: writes the tables of the results files into the README, between `<!-- table: NAME -->` and
 * `<!-- end -->`. A test holds the README to them, so no figure in it is typed by hand.
 */

import type { Run } from "../demo/tables.ts";
import type { LayerResult } from "./bench_layer.ts";
import type { Machine } from "./machine.ts";
import { layerTable, markdownTable } from "./table.ts";

/** What every results file says of where it was measured. */
interface Measured {
  readonly date: string;
  readonly machine: Machine;
  readonly backend: string;
  readonly adapter: string;
}

const README = new URL("../../README.md", import.meta.url);
const TABLE = /(<!-- table: (\w+) -->)[\s\S]*?(<!-- end -->)/g;

const TABLES: Readonly<Record<string, (results: never) => string>> = {
  cpu: ({ layers }: { layers: readonly LayerResult[] }) => layerTable(layers),
  demo: ({ runs }: { runs: readonly Run[] }) =>
    markdownTable([["", ...runs.map((run) => run.title)], [
      "perplexity",
      ...runs.map((run) => run.perplexity.toFixed(2)),
    ]]),
};

/** The README with every table as its results file has it. */
export async function renderReadme(): Promise<string> {
  const readme = await Deno.readTextFile(README);
  const rendered = new Map<string, string>();
  for (const [, , name] of readme.matchAll(TABLE)) {
    const results = JSON.parse(await Deno.readTextFile(new URL(`results/${name}.json`, import.meta.url)));
    rendered.set(name, `${TABLES[name](results as never)}\n\n${measuredOn(results)}`);
  }
  return readme.replace(TABLE, (_, begin, name, end) => `${begin}\n\n${rendered.get(name)}\n\n${end}`);
}

function measuredOn({ date, machine, adapter }: Measured): string {
  const memory = `${Math.round(machine.memoryBytes / 2 ** 30)} GiB`;
  return `Measured ${
    date.slice(0, 10)
  } on ${machine.cores} cores of ${machine.cpu}, ${memory}, Deno ${machine.deno}: ${adapter}.`;
}

if (import.meta.main) {
  await Deno.writeTextFile(README, await renderReadme());
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", README.pathname] }).output();
}
