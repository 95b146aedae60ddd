/** Run reports for the tests: the stored pare.json of a real run, and larger reports derived from it. */

import { type RunReport, runReportSchema } from "../../src/report/run_report.ts";
import real from "./opt_sotu_run.json" with { type: "json" };

/** The real run: opt-sotu with 4 blocks, 24 layers at 50 %, calibrated on 32 windows on the `cpu` backend. */
export function sampleRun(): RunReport {
  return runReportSchema.parse(real);
}

/** A report with the first block of the real run repeated `blocks` times, and a different sparsity for each block. */
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
