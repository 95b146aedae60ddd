/** Causes faults of every kind, and checks that the final bytes are those of an undisturbed run. `scripts/faults/` has the kinds. */

import { integer } from "../../src/cli/options/common_options.ts";
import { type FaultCount, Tally } from "../faults/fault_kind.ts";
import { KINDS } from "../faults/kinds.ts";
import type { Bench } from "./bench.ts";
import { markdownTable } from "./report/markdown_table.ts";

interface FaultsOptions {
  readonly only?: string;
  readonly seed: number;
}

interface FaultsResults {
  readonly faults: Readonly<Record<string, FaultCount & { readonly seconds: number }>>;
}

export const bench: Bench<FaultsOptions, FaultsResults> = {
  description:
    "faults such as kills, full disks and lost devices, and how many of them the final bytes survive",
  options: (command) =>
    command
      .option("--only <names>", `comma-separated kinds: ${KINDS.map(({ name }) => name).join(", ")}`)
      .option("--seed <n>", "seed of all random moments", integer(0), 1),
  async measure({ only, seed }, { earlier, save }) {
    const faults = { ...(only === undefined ? {} : earlier?.faults) };
    for (const kind of KINDS.filter(({ name }) => only?.split(",").includes(name) ?? true)) {
      const tally = new Tally(), started = performance.now();
      await kind.run(kind.tries.full, tally, seed);
      const count = tally.count(), seconds = Math.round((performance.now() - started) / 1000);
      faults[kind.name] = { ...count, seconds };
      console.error(`${kind.name}: tried ${count.tried}, lost ${count.lost}, ${seconds} s`);
      for (const failure of count.failures) console.error(`  ${failure}`);
      const adapter = `WebAssembly SIMD, ${navigator.hardwareConcurrency} threads`;
      await save({ backend: "cpu", adapter }, { faults });
    }
    return { faults };
  },
  passes: ({ faults }) => Object.values(faults).every(({ lost }) => lost === 0),
  tables: {
    faults: ({ faults }) =>
      markdownTable([
        ["fault", ({ fault }) => fault],
        ["tried", ({ name }) => String(faults[name].tried)],
        ["survived", ({ name }) => String(faults[name].survived)],
        ["lost", ({ name }) => String(faults[name].lost)],
        ["survived means", ({ survival }) => survival],
      ], KINDS.filter(({ name }) => Object.hasOwn(faults, name))),
  },
};
