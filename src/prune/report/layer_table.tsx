/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
/**
 * The tables of the pruned layers, one per block, with one row per layer. The experts of a block that have the same role share a row,
 * because there can be hundreds of them.
 */

import { countText, numberText, secondsText, shareText } from "./format.ts";
import type { LayerRun, RunReport } from "./run_report.ts";
import { layerKind, meanError, sparsityOf } from "./summary.ts";

/** The sparsities that an allocation chose. The column is shown only if there is an allocation. */
const ALLOCATED = "Allocated";

/** The conjugate-gradient steps. The column is shown only if a layer was refitted. */
const REFIT = "Refit steps";

/** The calibration tokens. The column is shown only if some tokens did not reach a layer. */
const TOKENS = "Tokens";

/** The layers of a row, of which there is at least one. */
type Row = readonly LayerRun[];

const COLUMNS: readonly { title: string; isText?: boolean; cell(row: Row, run: RunReport): string }[] = [
  {
    title: "Layer",
    isText: true,
    cell: (row) => layerKind(row[0]) + (row.length > 1 ? ` (${row.length})` : ""),
  },
  { title: "Error", cell: (row) => numberText(meanError(row)) },
  { title: "Zeros", cell: (row) => shareText(sparsityOf(row)) },
  {
    title: ALLOCATED,
    cell: (row, { allocation }) => range(row, ({ name }) => allocation?.sparsities[name] ?? null, numberText),
  },
  { title: "Size", cell: ([{ rows, cols }]) => `${rows} × ${cols}` },
  {
    title: TOKENS,
    cell: (row) =>
      range(row, ({ tokens }) => tokens, (tokens) => tokens === undefined ? "all" : countText(tokens)),
  },
  { title: REFIT, cell: (row) => range(row, ({ refit_steps }) => refit_steps, String) },
  {
    title: "Damping",
    cell: (row) =>
      range(row, ({ damping }) => damping, (damping) => damping === null ? "–" : String(damping)),
  },
  { title: "Time", cell: (row) => secondsText(secondsOf(row)) },
];

/** One foldable table per block. A single block is open. */
export function LayerTables({ run }: { run: RunReport }) {
  const { layers } = run, blocks = Map.groupBy(layers, ({ block }) => block);
  const hidden = new Set([
    ...run.allocation ? [] : [ALLOCATED],
    ...layers.some(({ tokens }) => tokens !== undefined) ? [] : [TOKENS],
    ...layers.some(({ refit_steps }) => refit_steps > 0) ? [] : [REFIT],
  ]);
  const columns = COLUMNS.filter(({ title }) => !hidden.has(title));
  return (
    <>
      {[...blocks].sort(([a], [b]) => a - b).map(([block, inBlock]) => (
        <details open={blocks.size === 1}>
          <summary>{blockFacts(block, inBlock).map((fact) => <span>{fact}</span>)}</summary>
          <div class="scroll" role="region" tabindex={0} aria-label={`Layers of block ${block}`}>
            <table>
              <thead>
                <tr>
                  {columns.map(({ title, isText }) => (
                    <th scope="col" class={isText ? undefined : "number"}>{title}</th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {[...Map.groupBy(inBlock, layerKind).values()].map((row) => (
                  <tr>
                    {columns.map(({ title, cell }) =>
                      title === "Layer"
                        ? <th scope="row" title={row[0].name}>{cell(row, run)}</th>
                        : <td class="number">{cell(row, run)}</td>
                    )}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </details>
      ))}
    </>
  );
}

function blockFacts(block: number, layers: readonly LayerRun[]): string[] {
  return [
    `Block ${block}`,
    `${layers.length} ${layers.length === 1 ? "layer" : "layers"}`,
    `${shareText(sparsityOf(layers))} zeros`,
    `mean error ${numberText(meanError(layers))}`,
    secondsText(secondsOf(layers)),
  ];
}

function secondsOf(layers: readonly LayerRun[]): number {
  return layers.reduce((sum, { seconds }) => sum + seconds.total, 0);
}

/** Returns the value of the layers of a row, or the smallest and the largest if they differ. */
function range<Value extends number | null | undefined>(
  row: Row,
  valueOf: (layer: LayerRun) => Value,
  format: (value: Value) => string,
): string {
  const values = [...new Set(row.map(valueOf))].sort((a, b) => (a ?? Infinity) - (b ?? Infinity));
  return [...new Set([values[0], values[values.length - 1]].map(format))].join(" to ");
}
