/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
/** The settings and the environment of a run as pairs of a name and a value, and the command that repeats the run. */

import type { RunReport } from "./run_report.ts";
import { keptTargets, parameterPairs } from "./summary.ts";

/** The pairs as a description list, including the names of the weights that were not pruned. */
export function RunDetails({ run }: { run: RunReport }) {
  const { model, calibration, allocation, backend, adapter } = run;
  const targets = keptTargets(run);
  const seed = calibration.seed === null ? "evenly spaced" : `drawn with seed ${calibration.seed}`;
  const pairs: [string, string][] = [
    ["Model", `${model.name}: ${model.model_type}, ${model.blocks} blocks of width ${model.hidden_size}`],
    ...parameterPairs(run),
    ...targets === undefined ? [] : [["Targets", targets] as [string, string]],
    ...allocation ? [["Allocation", allocation.notes.join(" ")] as [string, string]] : [],
    [
      "Calibration",
      `${calibration.samples} windows of ${calibration.seqlen} tokens of ${calibration.text}, ${seed}` +
      (calibration.validation_samples ? `; ${calibration.validation_samples} of them held out` : ""),
    ],
    ["Computed on", backend === adapter ? backend : `${backend}: ${adapter}`],
    ["Not pruned", run.skipped.length === 0 ? "no layer was skipped" : run.skipped.join(", ")],
    ["Written by", `Pare ${run.version}, ${run.finished.replace("T", " ").replace(/\.\d+Z$/, " UTC")}`],
  ];
  return (
    <dl>
      {pairs.map(([name, value]) => (
        <div>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The command line that repeats the run. Empty if another program has pruned the model. */
export function RepeatCommand({ command }: Pick<RunReport, "command">) {
  return command !== undefined && (
    <div>
      <p class="note">This command repeats the run. Files are named without their folders.</p>
      <pre tabindex={0} aria-label="Command"><code>{command}</code></pre>
    </div>
  );
}
