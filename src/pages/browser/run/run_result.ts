/** Shows the result of a run: the sizes and perplexities before and after as bars, the KL divergence, the time, and the files. */

import type { RunResult } from "../../../client/mod.ts";
import { make, makeFigure, makeSvg } from "../dom.ts";
import { formatBytes, formatNumber, formatSeconds } from "../format.ts";

/** The width of the picture, of its longest bar, and the height of a row, in pixels. */
const WIDTH = 320, BAR = 130, ROW = 22;

/** A pair of bars: its name, and the values of the dense model and of the result with their texts. */
type Pair = readonly [name: string, before: number, after: number, text: (value: number) => string];

/** @param onDownload is called when the user follows the link of a file */
export function showResult(
  place: HTMLElement,
  id: string,
  { dense_bytes, written_bytes, seconds, perplexity, files }: RunResult,
  onDownload: (event: Event, id: string, name: string, bytes: number) => void,
): void {
  const { dense = null, pruned = null, divergence = null } = perplexity ?? {};
  const pairs: Pair[] = [["Size", dense_bytes, written_bytes, formatBytes]];
  if (dense !== null && pruned !== null) pairs.push(["Perplexity", dense, pruned, formatNumber]);
  const figures = [
    ["Size", `${formatNumber(100 * written_bytes / dense_bytes)} % of the weights before`],
    ["KL divergence", divergence === null ? "not measured: the text is short" : formatNumber(divergence)],
    ["Time of the run", formatSeconds(seconds)],
  ];
  const links = files.toSorted((a, b) => b.bytes - a.bytes).map(({ name, bytes }) => {
    const link = make(
      "a",
      { href: `/v1/runs/${id}/files/${encodeURIComponent(name)}`, download: name },
      name,
    );
    link.addEventListener("click", (event) => onDownload(event, id, name, bytes));
    return make("li", {}, link, ` ${formatBytes(bytes)}`);
  });
  place.replaceChildren(
    makeFigure(
      drawPairs(pairs),
      "Before and after. The KL divergence says how far the predictions have moved.",
    ),
    make(
      "dl",
      { class: "figures" },
      ...figures.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
    ),
    make("h2", {}, "Files"),
    make("ul", { id: "files" }, ...links),
  );
}

function drawPairs(pairs: readonly Pair[]): SVGElement {
  const rows = pairs.flatMap(([name, before, after, text], i) => {
    const top = i * 3 * ROW, scale = BAR / Math.max(before, after);
    return ([["before", before, "var(--text-light)"], ["after", after, "var(--accent)"]] as const).flatMap(
      ([when, value, fill], j) => {
        const y = top + j * ROW;
        return [
          makeSvg("text", { x: 0, y: y + 15, "font-size": 12, fill: "var(--text)" }, j === 0 ? name : ""),
          makeSvg("rect", { x: 80, y: y + 3, width: Math.max(1, value * scale), height: ROW - 6, fill }),
          makeSvg(
            "text",
            { x: 84 + value * scale, y: y + 15, "font-size": 12, fill: "var(--text)" },
            `${text(value)} ${when}`,
          ),
        ];
      },
    );
  });
  const label = pairs.map(([name, before, after, text]) =>
    `${name}: ${text(before)} before, ${text(after)} after`
  );
  const height = pairs.length * 3 * ROW - ROW;
  return makeSvg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, role: "img", "aria-label": label.join(". ") },
    ...rows,
  );
}
