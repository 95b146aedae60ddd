/** The table of the bench that fine-tunes pruned models with kept zeros. */

import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import type { FinetunedModel, FinetuningResults } from "./bench_finetuning.ts";

/** One checkpoint. The dense model and the pruned models were not fine-tuned, so some cells are empty. */
interface Row extends Partial<FinetunedModel> {
  readonly target: string;
  readonly title: string;
  readonly perplexity: number;
}

const COLUMNS: readonly Column<Row>[] = [
  ["target", ({ target }) => target],
  ["fine-tuned by", ({ title }) => title],
  ["perplexity", ({ perplexity }) => formatPerplexity(perplexity)],
  ["zeros", ({ zeros, weights }) => weights ? `${(100 * zeros! / weights).toFixed(2)} %` : NOT_MEASURED],
  ["steps", ({ steps }) => steps === undefined ? NOT_MEASURED : `${steps}`],
  [
    "pruned weights that were not zero after a step",
    ({ nonzeros }) => nonzeros === undefined ? NOT_MEASURED : `${nonzeros}`,
  ],
];

/** Renders one row per checkpoint. A line below the table shows the versions. */
export function finetuningTable({ dense, denseFinetuned, targets, versions }: FinetuningResults): string {
  const rows: Row[] = [
    { target: "dense", title: "–", perplexity: dense },
    { target: "", title: "Trainer of transformers", perplexity: denseFinetuned },
    ...targets.flatMap(({ target, finetuned, ...pruned }) => [
      { target, title: "–", ...pruned },
      ...finetuned.map((model) => ({ target: "", ...model })),
    ]),
  ];
  const libraries = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");
  return `${markdownTable(COLUMNS, rows)}\n\nLibraries: ${libraries}.`;
}
