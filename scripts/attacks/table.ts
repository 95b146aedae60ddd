/** The table of the attacks. */

import { markdownTable } from "../bench/report/markdown_table.ts";
import type { AttackResults } from "./attack_results.ts";

/** One row of the table. */
interface Row {
  readonly attack: string;
  readonly tried: number;
  readonly failed: number;
}

/** Renders one row for the corpus, one for the fuzz tests, and one for each server that Schemathesis attacked. */
export function attacksTable({ attacks, corpus, fuzz, fuzzFailures, requests }: AttackResults): string {
  const cases = Object.values(corpus).reduce((sum, count) => sum + count, 0);
  const inputs = fuzz.reduce((sum, { runs }) => sum + runs, 0);
  return markdownTable<Row>([
    ["attack", ({ attack }) => attack],
    ["tried", ({ tried }) => tried.toLocaleString("en")],
    ["failed", ({ failed }) => failed.toString()],
  ], [
    {
      attack: `cases of the corpus, about ${Object.keys(corpus).length} subjects`,
      tried: cases,
      failed: attacks.failures,
    },
    {
      attack: `inputs that fast-check generated, for ${fuzz.length} parsers`,
      tried: inputs,
      failed: fuzzFailures,
    },
    ...requests.map(({ server, cases, failures }) => ({
      attack: `requests that Schemathesis generated, to the ${server}`,
      tried: cases,
      failed: failures,
    })),
  ]);
}
