/** The table of the damages of unfinished runs. */

import { markdownTable } from "../../bench/report/markdown_table.ts";
import type { DamageCounts, DamageResults } from "./try_damages.ts";

/** Renders one row for each kind of damage, and one for all of them. */
export function damagesTable({ kinds, total }: DamageResults): string {
  const rows = [...Object.entries(kinds).sort(([a], [b]) => a < b ? -1 : 1), ["all", total] as const];
  const count = (name: keyof DamageCounts) => ([, counts]: readonly [string, DamageCounts]) =>
    counts[name].toString();
  return markdownTable<readonly [string, DamageCounts]>([
    ["damage", ([kind]) => kind],
    ["tried", count("tried")],
    ["refused", count("refused")],
    ["repaired", count("repaired")],
    ["without effect", count("unaffected")],
    ["defects", count("defects")],
    ["published wrong", count("wrong")],
  ], rows);
}
