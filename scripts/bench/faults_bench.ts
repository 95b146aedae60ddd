/** Causes faults of every kind by the tests in `tests/faults/`, and counts how many of them the final bytes survive. */

import { integer } from "../../src/cli/options/common_options.ts";
import type { Bench } from "./bench.ts";
import { runForFigures } from "./measure/run_tests.ts";
import { markdownTable } from "./report/markdown_table.ts";

interface FaultsOptions {
  readonly only?: string;
  readonly seed: number;
}

/** The figures of one kind of fault, as `tests/faults/faults_slow_test.ts` writes them. */
interface FaultFigures {
  readonly name: string;
  readonly fault: string;
  readonly survival: string;
  readonly tried: number;
  readonly survived: number;
  readonly lost: number;
  readonly phases: Readonly<Record<string, number>>;
  readonly failures: readonly string[];
  readonly seconds: number;
}

interface FaultsResults {
  readonly faults: readonly FaultFigures[];
}

export const bench: Bench<FaultsOptions, FaultsResults> = {
  description:
    "faults such as kills, full disks and lost devices, and how many of them the final bytes survive",
  options: (command) =>
    command
      .option("--only <names>", "comma-separated kinds, the names of the files in tests/faults/kinds/", "")
      .option("--seed <n>", "seed of all random moments", integer(0), 1),
  async measure({ only = "", seed }, { earlier, scratch, save }) {
    const { figures } = await runForFigures<FaultFigures>(
      "tests/faults/faults_slow_test.ts",
      scratch,
      "PARE_FAULT_FIGURES",
      { PARE_FAULTS: only, PARE_FAULT_SEED: String(seed) },
    );
    if (figures.length === 0) throw new RangeError(`option --only ${only}: names no kind of fault that ran`);
    for (const { name, failures } of figures) {
      for (const failure of failures) console.error(`${name}: ${failure}`);
    }
    const kept = only === "" ? [] : earlier?.faults ?? [];
    const faults = [
      ...kept.map((old) => figures.find(({ name }) => name === old.name) ?? old),
      ...figures.filter(({ name }) => kept.every((old) => old.name !== name)),
    ];
    await save({ backend: "cpu", adapter: `WebAssembly SIMD, ${navigator.hardwareConcurrency} threads` }, {
      faults,
    });
    return { faults };
  },
  passes: ({ faults }) => faults.every(({ lost }) => lost === 0),
  tables: {
    faults: ({ faults }) =>
      markdownTable([
        ["fault", ({ fault }) => fault],
        ["tried", ({ tried }) => String(tried)],
        ["survived", ({ survived }) => String(survived)],
        ["lost", ({ lost }) => String(lost)],
        ["survived means", ({ survival }) => survival],
      ], faults),
  },
};
