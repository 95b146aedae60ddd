/** Formats the results of `pare eval` as a table with one row per metric and one column per model. */

import { basename } from "node:path";
import type { ModelEvaluation } from "./evaluate_models.ts";
import { divergenceText } from "../../prune/report/format.ts";
import { textTable } from "../terminal/output.ts";

/** Returns the table of one or more models, which were all measured on the same texts. */
export function evalTable(models: readonly ModelEvaluation[]): string {
  const [{ texts, seqlen }] = models;
  const rows = texts.flatMap(({ text, windows }, t) => [
    [
      `${basename(text)}, ${windows} windows of ${seqlen}`,
      "perplexity",
      ...models.map((model) => model.texts[t].perplexity.toFixed(3)),
    ],
    ...models.length > 1 ? [["", "KL divergence", ...divergences(models, t)]] : [],
  ]);
  return textTable(["", "", ...columnNames(models.map(({ model }) => model))], rows, 2);
}

/** The divergences of all models from the first model on text `t`, unless `comparePerplexities` could not compare them. */
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
