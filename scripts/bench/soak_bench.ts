/** Lets many clients use a host for a long time, and compares every answer with its expected bytes. */

import { integer } from "../../src/cli/options/common_options.ts";
import { soak } from "../soak/soak.ts";
import { isPassed, type SoakResults, soakTable } from "../soak/table.ts";
import type { Bench } from "./bench.ts";

export const bench: Bench<{ readonly minutes: number; readonly clients: number }, SoakResults> = {
  description: "a host that 64 clients use for an hour, and every answer compared with the expected bytes",
  options: (command) =>
    command
      .option("--minutes <n>", "length of the soak", integer(1), 60)
      .option("--clients <n>", "number of clients at the same time", integer(1), 64),
  async measure({ minutes, clients, backend }, { earlier, save }) {
    const report = (line: string) => console.error(line);
    const { figures, host } = await soak({ minutes, clients, backend, report });
    for (const text of figures.unexpected.first) console.error(text);
    // The figures of the other backend stay in the file.
    const results: SoakResults = {
      soak: { ...earlier?.soak, [host.backend]: { ...figures, adapter: host.adapter } },
    };
    const adapter = Object.values(results.soak).map(({ adapter }) => adapter).join(" and ");
    await save({ ...host, adapter }, results);
    return results;
  },
  passes: ({ soak }) => Object.values(soak).every(isPassed),
  tables: { soak: soakTable },
};
