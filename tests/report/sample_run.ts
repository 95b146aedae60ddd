/** Runs for tests of the report: a real one of opt-sotu, kept as its pare.json, and what can be made of it. */

import { type RunReport, runReportSchema } from "../../src/report/run_report.ts";
import real from "./opt_sotu_run.json" with { type: "json" };

/** The real run: 4 blocks, 24 layers at 50 %, calibrated on 32 windows on the `cpu` backend. */
export function sampleRun(changes: Partial<RunReport> = {}): RunReport {
  return { ...runReportSchema.parse(real), ...changes };
}

/** Its first block `blocks` times over, each with a share of zeros of its own: as wide as a report gets. */
export function deepRun(blocks: number): RunReport {
  const run = sampleRun();
  const first = run.layers.filter(({ block }) => block === 0);
  return {
    ...run,
    model: { ...run.model, blocks },
    layers: Array.from({ length: blocks }, (_, block) =>
      first.map((layer) => ({
        ...layer,
        block,
        name: layer.name.replace(".0.", `.${block}.`),
        sparsity: 0.4 + block / blocks / 4,
      }))).flat(),
  };
}
