/** Counts how often one method is better than another, over all models, targets, calibrations and texts. */

import { KINDS } from "../../fixtures/trained_models.ts";
import { markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import { METHODS, NEAREST } from "./cells.ts";
import type { Figures } from "./compare_predictions.ts";

/** The methods that are compared with each other: the one that should be better first. */
const PAIRS = [["best", "default"], ["default", "published"], ["default", NEAREST]] as const;

/** A cell of the bench, with the figures of each text. */
interface MeasuredCell {
  /** MODEL/CALIBRATION/TARGET/METHOD */
  readonly name: string;
  readonly perplexities: Readonly<Record<keyof Figures, number | null>>;
  readonly divergences?: Figures;
}

/** Renders one row per pair of methods, with the number of figures that are lower, and the largest ratio of two figures. */
export function pairsTable(cells: readonly MeasuredCell[]): string {
  const byName = new Map(cells.map((cell) => [cell.name, cell]));
  const compare = ([method, other]: typeof PAIRS[number], of: "perplexities" | "divergences") => {
    const ratios = cells.flatMap((cell) => {
      const [model, calibration, target, measured] = cell.name.split("/");
      if (measured !== method) return [];
      const beside = byName.get([model, other === NEAREST ? "none" : calibration, target, other].join("/"));
      return KINDS.flatMap((kind) => {
        const [value, otherValue] = [cell, beside].map((one) => one?.[of]?.[kind]);
        return value && otherValue ? value / otherValue : [];
      });
    });
    const lower = ratios.filter((ratio) => ratio < 1).length;
    return ratios.length === 0
      ? [NOT_MEASURED, NOT_MEASURED]
      : [`${lower} of ${ratios.length}`, Math.max(...ratios).toFixed(3)];
  };
  return markdownTable<typeof PAIRS[number]>([
    ["method", ([method]) => METHODS[method].title],
    ["beside", ([, other]) => METHODS[other].title],
    ["lower KL", (pair) => compare(pair, "divergences")[0]],
    ["largest ratio of KL", (pair) => compare(pair, "divergences")[1]],
    ["lower perplexity", (pair) => compare(pair, "perplexities")[0]],
    ["largest ratio of perplexity", (pair) => compare(pair, "perplexities")[1]],
  ], PAIRS);
}
