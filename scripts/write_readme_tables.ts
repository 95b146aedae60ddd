/**
 * `deno task generate`: renders the tables of the results files into the Markdown pages. A table stands between the lines `<!--
 * table: BENCH/TABLE -->` and `<!-- end -->`, where TABLE is a table of the bench BENCH. If the results are in another file than
 * `results/BENCH.json`, the name of that file follows: `<!-- table: layers/speed webgpu -->`. The table `headline` has figures of
 * several benches, and `families` is the list of all model types. A test compares the pages with the results files, so that no figure in a table is typed by hand.
 */

import { MODEL_TYPES } from "../src/model/families/families.ts";
import { loadBench } from "./bench/bench.ts";
import { headlineTable } from "./bench/report/headline.ts";
import { type Measurement, readResults, resultsUrl } from "./bench/report/results_file.ts";
import { renderTables, writePage } from "./markdown_tables.ts";

const ROOT = new URL("../", import.meta.url);
/** The folders in which no page has tables. */
const SKIPPED = /^(\.|node_modules$|build$|out$)/;

/** The pages that contain tables of benches. */
export function pagesWithTables(folder: URL = ROOT): URL[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
    if (isDirectory) return SKIPPED.test(name) ? [] : pagesWithTables(new URL(`${name}/`, folder));
    const page = new URL(name, folder);
    return name.endsWith(".md") && /<!-- table: (\w+\/|headline|families)/.test(Deno.readTextFileSync(page))
      ? [page]
      : [];
  });
}

/**
 * Returns the text of `page` with all tables rendered from the results files.
 * @throws {Error} if the page names an unknown bench or table
 */
export function renderPage(page: URL): Promise<string> {
  return renderTables(page, renderTable);
}

/** Renders the table `BENCH/TABLE [FILE]`, and the line that says how it was measured. */
async function renderTable(marker: string): Promise<string> {
  if (marker === "headline") return await headlineTable();
  if (marker === "families") return familiesList();
  const [, name, table, file = name] = /^(\w+)\/(\w+)(?: (\w+))?$/.exec(marker) ?? [];
  if (name === undefined) throw new Error(`table ${marker}: a table is named BENCH/TABLE`);
  const { tables } = await loadBench(name);
  if (!Object.hasOwn(tables, table)) throw new Error(`the bench ${name} has no table ${table}`);
  const results = await readResults<object>(resultsUrl(file, "json"));
  return `${tables[table](results)}\n\n${measurementLine(results)}`;
}

function familiesList(): string {
  const { dense, mixtures, multimodal } = MODEL_TYPES;
  return Object.entries({
    "": dense,
    "mixtures of experts: ": mixtures,
    "the text part of the multimodal models ": multimodal,
  }).map(([title, types]) => `- ${title}${types.map((type) => `\`${type}\``).join(", ")}`).join("\n");
}

function measurementLine({ date, machine, otherProcessors, adapter }: Measurement): string {
  const memory = `${Math.round(machine.memoryBytes / 2 ** 30)} GiB`;
  const day = date.slice(0, 10);
  return `Measured on ${day} with ${machine.cores} cores of ${machine.cpu}, ${memory} of memory and Deno ` +
    `${machine.deno}. Adapter: ${adapter}.` +
    (otherProcessors ? ` Other parts were measured before with ${otherProcessors.join(" and ")}.` : "");
}

if (import.meta.main) {
  for (const page of pagesWithTables()) await writePage(page, await renderPage(page));
}
