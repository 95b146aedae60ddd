/** Counts how often one method is better than another, over all targets, calibrations and texts of the real models and of the small ones. */

import { type Kind, KINDS } from "../../fixtures/trained_models.ts";
import { REAL_MODELS } from "../../peers/real_model.ts";
import { markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import { METHODS, NEAREST } from "./cells.ts";

/** The methods that are compared with each other: the one that should be better first. The later pairs differ by one step each. */
const PAIRS = [
  ["default", NEAREST],
  ["default", "published"],
  ["best", "default"],
  ["unit-validation", "published"],
  ["alps-validation", "unit-validation"],
  ["alps-target", "alps-validation"],
  ["alps-target-reconstruct", "alps-target"],
] as const;

/** A cell of the bench, with the figures of each text. */
interface MeasuredCell {
  /** MODEL/CALIBRATION/TARGET/METHOD */
  readonly name: string;
  readonly perplexities: Readonly<Record<Kind, number | null>>;
  readonly divergences?: Readonly<Partial<Record<Kind, number | null>>>;
}

interface Row {
  readonly models: string;
  readonly cells: readonly MeasuredCell[];
  readonly pair: typeof PAIRS[number];
}

/** Renders one row per pair of methods that were both measured, with the number of figures that are lower, and the largest ratio of two figures. */
export function pairsTable(cells: readonly MeasuredCell[]): string {
  const isReal = ({ name }: MeasuredCell) => name.split("/")[0] in REAL_MODELS;
  const groups = { real: cells.filter(isReal), small: cells.filter((cell) => !isReal(cell)) };
  const rows = Object.entries(groups).flatMap(([models, cells]) =>
    PAIRS.map((pair): Row => ({ models, cells, pair }))
      .filter((row) => compare(row, "perplexities").lower !== NOT_MEASURED)
  );
  return markdownTable<Row>([
    ["models", ({ models }) => models],
    ["method", ({ pair: [method] }) => METHODS[method].title],
    ["beside", ({ pair: [, other] }) => METHODS[other].title],
    ["lower KL", (row) => compare(row, "divergences").lower],
    ["largest ratio of KL", (row) => compare(row, "divergences").largest],
    ["lower perplexity", (row) => compare(row, "perplexities").lower],
    ["largest ratio of perplexity", (row) => compare(row, "perplexities").largest],
  ], rows);
}

/** Compares the figures of all cells that were measured with both methods of a pair. */
function compare(
  { cells, pair: [method, other] }: Row,
  of: "perplexities" | "divergences",
): { readonly lower: string; readonly largest: string } {
  const ratios = cells.flatMap((cell) => {
    const [model, calibration, target, measured] = cell.name.split("/");
    if (measured !== method) return [];
    const otherName = [model, other === NEAREST ? "none" : calibration, target, other].join("/");
    const beside = cells.find(({ name }) => name === otherName);
    return KINDS.flatMap((kind) => {
      const [value, otherValue] = [cell, beside].map((one) => one?.[of]?.[kind]);
      return value && otherValue ? value / otherValue : [];
    });
  });
  if (ratios.length === 0) return { lower: NOT_MEASURED, largest: NOT_MEASURED };
  const lower = ratios.filter((ratio) => ratio < 1).length;
  return { lower: `${lower} of ${ratios.length}`, largest: Math.max(...ratios).toFixed(3) };
}
