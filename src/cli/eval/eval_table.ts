/** Formats the results of `pare eval` as a table with one row per metric and one column per model. */

import { basename } from "node:path";
import type { Metric } from "../../model/evaluation/evaluate_task.ts";
import type { ModelEvaluation } from "./evaluate_models.ts";
import { divergenceText } from "../../prune/report/format.ts";
import { textTable } from "../terminal/output.ts";

/** Returns the table of one or more models, which were all measured on the same texts and tasks. */
export function evalTable(models: readonly ModelEvaluation[]): string {
  const [{ texts, tasks, seqlen }] = models;
  const rows = [
    ...texts.flatMap(({ text, windows }, t) => [
      [
        `${basename(text)}, ${windows} windows of ${seqlen}`,
        "perplexity",
        ...models.map((model) => model.texts[t].perplexity.toFixed(3)),
      ],
      ...models.length > 1 ? [["", "KL divergence", ...divergences(models, t)]] : [],
    ]),
    ...tasks.flatMap(({ task, examples, metrics }, t) =>
      Object.keys(metrics).map((metric, m) => [
        m === 0 ? `${task}, ${examples} examples` : "",
        metric,
        ...models.map((model) => formatMetric(metric, model.tasks[t].metrics[metric])),
      ])
    ),
  ];
  return textTable(["", "", ...columnNames(models.map(({ model }) => model))], rows, 2);
}

/** The divergences of all models from the first one on text `t`, unless `comparePerplexities` could not compare them. */
function divergences([, ...others]: readonly ModelEvaluation[], t: number): string[] {
  return [
    "0",
    ...others.map(({ texts: { [t]: { divergence } } }) =>
      divergence === undefined ? "not comparable" : divergenceText(divergence)
    ),
  ];
}

/** Returns the last part of each path, or the whole path if several paths end in the same part. */
export function columnNames(names: readonly string[]): string[] {
  const short = names.map((name) => basename(name));
  return names.map((name, i) => short.filter((other) => other === short[i]).length === 1 ? short[i] : name);
}

function formatMetric(name: string, { value, stderr }: Metric): string {
  const digits = name === "perplexity" ? 3 : 4;
  return stderr === null ? value.toFixed(digits) : `${value.toFixed(digits)} ± ${stderr.toFixed(digits)}`;
}
