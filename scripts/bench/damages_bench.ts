/** Damages unfinished runs of `pare prune` in random ways, and checks that no damage reaches a finished checkpoint. */

import { integer } from "../../src/cli/options/common_options.ts";
import { openBackend } from "../../src/cli/open_backend.ts";
import { type DamageCounts, type DamageResults, tryDamages } from "../faults/runs/try_damages.ts";
import type { Bench } from "./bench.ts";
import { markdownTable } from "./report/markdown_table.ts";

type Row = readonly [kind: string, counts: DamageCounts];

export const bench: Bench<{ readonly count: number; readonly seed: number }, DamageResults> = {
  description: "random damages to unfinished runs, and how many are refused, repaired or published",
  options: (command) =>
    command
      .option("--count <n>", "number of damages", integer(1), 2000)
      .option("--seed <n>", "seed of the first damage", integer(0), 1),
  async measure({ count, seed }, { save }) {
    const results = await tryDamages(count, seed, (done) => {
      if (done % 100 === 0) console.error(`${done}/${count}`);
    });
    const backend = await openBackend("cpu");
    await save({ backend: backend.kind, adapter: backend.adapter.name }, results);
    for (const failure of results.failures) console.error(failure);
    await backend.dispose();
    return results;
  },
  passes: ({ failures }) => failures.length === 0,
  tables: {
    damages({ kinds, total }) {
      const rows = [...Object.entries(kinds).sort(([a], [b]) => a < b ? -1 : 1), ["all", total] as const];
      const count = (name: keyof DamageCounts) => ([, counts]: Row) => counts[name].toString();
      return markdownTable<Row>([
        ["damage", ([kind]) => kind],
        ["tried", count("tried")],
        ["refused", count("refused")],
        ["repaired", count("repaired")],
        ["without effect", count("unaffected")],
        ["defects", count("defects")],
        ["published wrong", count("wrong")],
      ], rows);
    },
  },
};
