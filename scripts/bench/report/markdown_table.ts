/**
 * The tables of the benches. Each bench declares the columns of its table, and `markdownTable` renders its results with them.
 * The same text is printed on the terminal and written into the Markdown pages.
 */

/** One column of a table: its heading, and a function that gives the text of its cell in a row. */
export type Column<Row> = readonly [heading: string, cell: (row: Row) => string];

/** The text of a cell whose figure was not measured. */
export const NOT_MEASURED = "–";

/**
 * Renders one line per row. The first column is aligned left and the others right.
 * @param grouped the number of first columns that show a value only in the first of the rows that share it, and the values left of it
 */
export function markdownTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  grouped = 0,
): string {
  const texts = rows.map((row) => columns.map(([, cell]) => cell(row)));
  const isRepeated = (row: number, column: number) =>
    column < grouped && texts[row].slice(0, column + 1).every((text, i) => text === texts[row - 1]?.[i]);
  return [
    columns.map(([heading]) => heading),
    columns.map((_, i) => i === 0 ? "---" : "--:"),
    ...texts.map((cells, row) => cells.map((text, column) => isRepeated(row, column) ? "" : text)),
  ].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** The size of a layer, such as `768 × 3072`. */
export function formatSize({ rows, cols }: { readonly rows: number; readonly cols: number }): string {
  return `${rows} × ${cols}`;
}

/** Formats a perplexity with four digits, or with two digits from 10,000 on, where pruning has ruined the model. */
export function formatPerplexity(perplexity: number): string {
  return perplexity < 1e4 ? perplexity.toPrecision(4) : perplexity.toExponential(1);
}

/** A fraction in whole percent, such as `37 %`. */
export function formatPercent(fraction: number): string {
  return `${(100 * fraction).toFixed(0)} %`;
}
