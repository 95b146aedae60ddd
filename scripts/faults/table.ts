/** The table of the faults. */

import { markdownTable } from "../bench/report/markdown_table.ts";
import type { FaultCount } from "./fault_kind.ts";
import { KINDS } from "./kinds.ts";

/** The contents of `results/faults.json`, without the measurement: the counts by the names of the kinds. */
export interface FaultResults {
  readonly faults: Readonly<Record<string, FaultCount & { readonly seconds: number }>>;
}

/** Renders one line per kind that was tried, with its counts. */
export function faultTable({ faults }: FaultResults): string {
  const rows = KINDS.filter(({ name }) => Object.hasOwn(faults, name));
  return markdownTable([
    ["fault", ({ fault }) => fault],
    ["tried", ({ name }) => String(faults[name].tried)],
    ["survived", ({ name }) => String(faults[name].survived)],
    ["lost", ({ name }) => String(faults[name].lost)],
  ], rows);
}

/** Renders one line per kind, with what survival means. */
export function survivalTable(): string {
  return markdownTable(
    [["fault", ({ fault }) => fault], ["survived means", ({ survival }) => survival]],
    KINDS,
  )
    .replace("| --: |", "| --- |");
}
