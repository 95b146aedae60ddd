/** Formats results as a table for a terminal. */

import Table from "cli-table3";
import { printableLine } from "../../base/texts.ts";

/** Returns a table. The first `labels` columns are aligned to the left, the others to the right. */
export function textTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  labels = 1,
): string {
  const colAligns = head.map((_, i) => i < labels ? "left" as const : "right" as const);
  const table = new Table({ head: [...head], colAligns, style: { head: [], border: [], compact: true } });
  table.push(...rows.map((row) => row.map(printableLine)));
  return table.toString();
}
