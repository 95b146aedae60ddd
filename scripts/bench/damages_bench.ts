/** Damages unfinished runs of `pare prune` by the test in `tests/faults/`, and counts whether a damage reaches a finished checkpoint. */

import { integer } from "../../src/cli/options/common_options.ts";
import type { Bench } from "./bench.ts";
import { runForFigures } from "./measure/run_tests.ts";
import { markdownTable } from "./report/markdown_table.ts";

/** The outcomes of the damages of one kind, or of all kinds. `tests/faults/try_damages.ts` says when each is counted. */
type DamageCounts = Readonly<
  Record<"tried" | "refused" | "repaired" | "unaffected" | "wrong" | "defects", number>
>;

interface DamageResults {
  readonly firstSeed: number;
  readonly total: DamageCounts;
  readonly kinds: Readonly<Record<string, DamageCounts>>;
  readonly failures: readonly string[];
}

type Row = readonly [kind: string, counts: DamageCounts];

export const bench: Bench<{ readonly count: number; readonly seed: number }, DamageResults> = {
  description: "random damages to unfinished runs, and how many are refused, repaired or published",
  options: (command) =>
    command
      .option("--count <n>", "number of damages", integer(1), 2000)
      .option("--seed <n>", "seed of the first damage", integer(0), 1),
  async measure({ count, seed }, { scratch, save }) {
    const { figures: [results] } = await runForFigures<DamageResults>(
      "tests/faults/damages_slow_test.ts",
      scratch,
      "PARE_DAMAGE_FIGURES",
      { PARE_DAMAGES: String(count), PARE_DAMAGE_SEED: String(seed) },
    );
    if (results === undefined) throw new Error("the damages: the test wrote no figures");
    const adapter = `WebAssembly SIMD, ${navigator.hardwareConcurrency} threads`;
    await save({ backend: "cpu", adapter }, results);
    for (const failure of results.failures) console.error(failure);
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
