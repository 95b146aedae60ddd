/** Run reports for the tests: the stored pare.json of a real run, and larger reports derived from it. */

import { type RunReport, runReportSchema } from "../../../src/prune/report/run_report.ts";
import real from "./opt_sotu_run.json" with { type: "json" };

/**
 * The real run. It pruned the fixture model opt-sotu, which has 4 blocks with 24 layers, to 50 % on the `cpu`
 * backend, and was calibrated on 32 windows.
 */
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
