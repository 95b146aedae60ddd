/** The families' perplexities as a Markdown table. */

import type { Measured } from "../results_file.ts";
import { markdownTable } from "../table.ts";
import { type FamilyResult, METHODS, type PrunedRun, TARGETS } from "./bench_family.ts";

/** `families.json`. */
export interface FamiliesFile extends Measured {
  readonly models: readonly FamilyResult[];
}

const METHOD_TITLES: Readonly<Record<PrunedRun["method"], string>> = {
  sparsegpt: "SparseGPT",
  magnitude: "magnitude",
};

/** A row a model and method, a column a sparsity. */
export function familiesTable({ models }: Pick<FamiliesFile, "models">): string {
  return markdownTable([
    ["model", "family", "dense", "pruned by", ...TARGETS],
    ...models.flatMap((model) => METHODS.map((method, i) => row(model, method, i === 0))),
  ]);
}

/** The model's own cells are in its first row only. */
function row(model: FamilyResult, method: PrunedRun["method"], isFirst: boolean): string[] {
  const cells = TARGETS.map((target) => {
    const run = model.runs.find((run) => run.method === method && run.target === target);
    return run ? format(run.perplexity) : "–";
  });
  const own = isFirst ? [model.name, model.family, format(model.dense)] : ["", "", ""];
  return [...own, METHOD_TITLES[method], ...cells];
}

/** Four figures; a broken model's thousands need no more. */
function format(perplexity: number): string {
  return perplexity < 1e4 ? perplexity.toPrecision(4) : perplexity.toExponential(1);
}
