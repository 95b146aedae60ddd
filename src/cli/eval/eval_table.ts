/** The figures of models side by side: a row a figure, a column a model. */

import { basename } from "node:path";
import type { Metric } from "../../evaluation/task_metrics.ts";
import type { ModelResult } from "./evaluate_model.ts";
import { textTable } from "../terminal/text_table.ts";

/** The table of one model or more, all measured on the same texts and tasks. */
export function evalTable(models: readonly ModelResult[]): string {
  const [{ texts, tasks, seqlen }] = models;
  const rows = [
    ...texts.map(({ text, windows }, t) => [
      `${basename(text)}, ${windows} windows of ${seqlen}`,
      "perplexity",
      ...models.map((model) => model.texts[t].perplexity.toFixed(3)),
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

/** The last part of each name, or the whole of it where that is not the only one. */
export function columnNames(names: readonly string[]): string[] {
  const short = names.map((name) => basename(name));
  return names.map((name, i) => short.filter((one) => one === short[i]).length === 1 ? short[i] : name);
}

function formatMetric(name: string, { value, stderr }: Metric): string {
  const digits = name === "perplexity" ? 3 : 4;
  return stderr === null ? value.toFixed(digits) : `${value.toFixed(digits)} ± ${stderr.toFixed(digits)}`;
}
