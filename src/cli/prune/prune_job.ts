/** Builds the job of `pare prune`: reads the texts, and defines the report and the format of the output. */

import { countWeightFileBytes } from "../../model/checkpoint/weight_files.ts";
import type { Model } from "../../model/model.ts";
import type { FolderJob } from "../../prune/run/folder_destination.ts";
import type { OutputPlan } from "../../prune/run/plan_output.ts";
import { tokenWarnings } from "../../prune/run/warnings.ts";
import { runReport } from "../../prune/run/run_report.ts";
import { readBaseCard } from "../../prune/report/base_card.ts";
import { REPORT_FILES } from "../../prune/report/file_names.ts";
import { readModelCard, runReportFiles } from "../files/run_report_files.ts";
import { comparePerplexity, readRunTexts } from "./compare_perplexity.ts";
import type { ProgressDisplay } from "../terminal/output.ts";
import { checkHeldOut } from "./check_options.ts";
import { writeImportance } from "./importance.ts";
import type { OpenRun } from "./open_run.ts";
import { reportedParameters } from "./prune_options.ts";

/**
 * Returns the job without its fingerprint, the parameters of the report and the warnings of the run.
 * @param exported the plan of a run that writes another format than a checkpoint
 * @throws {ModelError} if a text is malformed or too short
 * @throws {UsageError} if held-out windows choose a parameter, but the run holds out none
 */
export async function pruneJob(
  run: OpenRun,
  exported: OutputPlan | undefined,
  progress: ProgressDisplay,
) {
  const { opened: { checkpoint, model, loadTokenizer }, chosen, choice, options, texts, seqlen, first } = run;
  const tokenizer = await loadTokenizer();
  const { evaluated, ...calibration } = await readRunTexts(tokenizer, texts, { ...options, seqlen });
  const baseCard = readBaseCard(await readModelCard(first?.dense ?? checkpoint));
  checkHeldOut(chosen, choice.queryOf, calibration.validationWindows.length);
  const warnings = tokenWarnings({ ...calibration, queryOf: choice.queryOf }, chosen);
  const parameters = reportedParameters(run.query, options);
  const streamed = (model: Model): Model => ({
    ...model,
    streamsExperts: options.expertsAtOnce !== undefined,
  });
  const job: Omit<FolderJob, "fingerprint"> = {
    ...options,
    ...calibration,
    checkpoint,
    model: streamed(model),
    layers: choice.chosen,
    queryOf: choice.queryOf,
    evaluatedWindows: evaluated.map(({ windows }) => windows),
    allocation: choice.allocation,
    planOutput: exported && (() => exported),
    reportFileNames: REPORT_FILES,
    reportFiles: async (finished, pruned, write, plan) => {
      const started = performance.now();
      const perplexity = evaluated.length === 0
        ? []
        : await comparePerplexity({ dense: streamed(model), pruned: streamed(pruned) }, evaluated, {
          seqlen,
          backend: await run.openDevice(),
          signal: run.signal,
          progress,
        });
      if (exported && options.imatrix !== undefined) {
        await writeImportance(run, { ...run.opened, model: streamed(pruned) });
      }
      const evaluation = evaluated.length === 0 ? 0 : (performance.now() - started) / 1000;
      const report = runReport({ ...run, parameters, shrunk: first?.report }, finished, {
        perplexity,
        write,
        evaluation,
        validationSamples: calibration.validationWindows.length,
        warnings,
      });
      const written = countWeightFileBytes(plan.weightFiles);
      const format = exported ? options.for! : options.format;
      return runReportFiles(report, { format, written }, baseCard);
    },
  };
  return { ...job, parameters, warnings };
}
