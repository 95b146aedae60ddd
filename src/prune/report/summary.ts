/** Totals over the layers of a run, short names for its layers, and texts that describe the whole run. */

import { countText, numberText, shareText } from "./format.ts";
import type { LayerRun, RunReport } from "./run_report.ts";

export interface Totals {
  readonly entries: number;
  readonly zeros: number;
}

export function totals(layers: readonly LayerRun[]): Totals {
  return {
    entries: layers.reduce((sum, { rows, cols }) => sum + rows * cols, 0),
    zeros: layers.reduce((sum, { zeros }) => sum + zeros, 0),
  };
}

/** Returns the layers that fewer calibration tokens reached than the layers have columns. */
export function layersWithFewTokens<L extends Pick<LayerRun, "tokens" | "cols">>(layers: readonly L[]): L[] {
  return layers.filter(({ tokens, cols }) => tokens !== undefined && tokens < cols);
}

/**
 * The name of a layer within its block, such as `fc1` or `self_attn.q_proj`. Layers of the same kind have the same
 * name. The experts of a block are of one kind, such as `mlp.experts.*.up_proj`.
 */
export function layerKind({ name, block }: LayerRun): string {
  const afterBlock = name.split(`.${block}.`).slice(1).join(`.${block}.`) || name;
  return afterBlock.replace(/\.weight$/, "").replace(/\bexperts\.\d+\b/, "experts.*");
}

/** The mean relative error of layers. Null if none was measured. */
export function meanError(layers: readonly LayerRun[]): number | null {
  const errors = layers.flatMap(({ relative_error }) => relative_error ?? []);
  return errors.length === 0 ? null : errors.reduce((sum, error) => sum + error, 0) / errors.length;
}

/** The fraction of zeros among the weights of layers. */
export function sparsityOf(layers: readonly LayerRun[]): number {
  const { zeros, entries } = totals(layers);
  return entries === 0 ? 0 : zeros / entries;
}

/** The bits to which the parameters of a run say that the kept weights are rounded. Undefined without rounding. */
export function roundedBits({ parameters: { bits } }: Pick<RunReport, "parameters">): number | undefined {
  return typeof bits === "number" ? bits : undefined;
}

/** Returns what `pare shrink` has removed, if the report is one of `pare shrink` without a second run. */
export function removalOf({ shrunk, layers }: RunReport): RunReport["shrunk"] {
  return layers.every(({ pattern }) => pattern === "columns") ? shrunk : undefined;
}

/** Says which units `pare shrink` has removed, in one line per kind. */
export function removalLines(
  removal: Pick<NonNullable<RunReport["shrunk"]>, "dropped_blocks" | "neurons" | "heads" | "experts">,
): string[] {
  const { dropped_blocks: dropped } = removal;
  return [
    ...dropped.length > 0 ? [`dropped ${dropped.length > 1 ? "blocks" : "block"} ${dropped.join(", ")}`] : [],
    ...(["neurons", "heads", "experts"] as const).flatMap((kind) => {
      const sizes = removal[kind];
      return sizes ? [`${sizes.shrunk} of ${sizes.dense} ${kind} remain in each block`] : [];
    }),
  ];
}

/** Returns the share of the parameters that `pare shrink` has removed. */
export function removedShare({ parameters }: NonNullable<RunReport["shrunk"]>): string {
  return shareText(1 - parameters.shrunk / parameters.dense);
}

/** Returns what was done to the weights of a run. */
export function changesOf(run: RunReport): ("pruned" | "rounded" | "shrunk")[] {
  if (removalOf(run)) return ["shrunk"];
  const isRounded = roundedBits(run) !== undefined || run.format === "pack-quantized";
  const isPruned = !isRounded || run.layers.some(({ zeros }) => zeros > 0);
  return [...isPruned ? ["pruned"] as const : [], ...isRounded ? ["rounded"] as const : []];
}

/** The name of the model, and what was done to its weights: `opt-sotu, pruned and rounded`. */
export function runTitle(run: RunReport): string {
  return `${run.model.name}, ${changesOf(run).join(" and ")}`;
}

/** A sentence on the method, the sparsity, the rounding and the mean error, after one on removed parameters. */
export function summarySentence(run: RunReport): string {
  const { layers, model, shrunk } = run, bits = roundedBits(run), error = meanError(layers);
  const removal = removalOf(run);
  if (removal) {
    return `pare shrink removed ${removedShare(removal)} of the parameters: ${
      removalLines(removal).join(", ")
    }.`;
  }
  const methods = [...new Set(layers.map(({ method, pattern }) => `${method} ${pattern}`))].join(" and ");
  const removed = shrunk && removedShare(shrunk);
  const where = `${countText(layers.length)} layers in ${model.blocks} blocks`;
  const rounding = bits === undefined ? "" : `rounded to ${bits} bits`;
  return (removed ? `pare shrink first removed ${removed} of the parameters. Then ` : "") +
    `${methods || "nothing pruned"}: ` +
    (rounding && !changesOf(run).includes("pruned")
      ? `The weights of ${where} are ${rounding}`
      : `${shareText(sparsityOf(layers))} of the weights of ${where} are zero` +
        (rounding && `, and the others are ${rounding}`)) +
    (error === null ? "." : `. The mean relative error of a layer is ${numberText(error)}.`);
}

/** The parameters of a run as pairs of a title and a value: `group_size` becomes `Group size`. */
export function parameterPairs({ parameters }: RunReport): [title: string, value: string][] {
  return Object.entries(parameters).map(([name, value]) => [
    name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " "),
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
}

/** Says in how many blocks the targets of the layers were kept. Undefined if there was nothing to decide. */
export function keptTargets({ blocks = [] }: Pick<RunReport, "blocks">): string | undefined {
  const decisions = blocks.flatMap(({ targets }) => targets ?? []);
  if (decisions.length === 0) return undefined;
  return `kept in ${decisions.filter(({ kept }) => kept).length} of ${decisions.length} blocks`;
}
