/** Every pruned layer in a row of a table. */

import { element, type Page, type PageElement } from "./dom.ts";
import { formatNumber, formatSeconds, formatShare } from "./format.ts";
import type { LayerRun, RunReport } from "./run_report.ts";
import { layerKind } from "./summary.ts";

const COLUMNS: readonly { title: string; isText?: boolean; cell(layer: LayerRun): string }[] = [
  { title: "Block", cell: ({ block }) => String(block) },
  { title: "Layer", isText: true, cell: layerKind },
  { title: "Error", cell: ({ relative_error }) => formatNumber(relative_error) },
  { title: "Zeros", cell: ({ sparsity }) => formatShare(sparsity) },
  { title: "Size", cell: ({ rows, cols }) => `${rows} × ${cols}` },
  { title: "Damping", cell: ({ damping }) => damping === null ? "–" : String(damping) },
  { title: "Time", cell: ({ seconds }) => formatSeconds(seconds.total) },
];

/** The table, in a region that scrolls sideways where it does not fit. */
export function layerTable(document: Page, { layers }: RunReport): PageElement {
  const make = element.bind(null, document);
  const heads = COLUMNS.map(({ title, isText }) =>
    make("th", { scope: "col", ...isText && { class: "text" } }, [title])
  );
  const rows = layers.map((layer) => {
    const cells = COLUMNS.map(({ title, isText, cell }) =>
      title === "Layer"
        ? make("th", { scope: "row", class: "text", title: layer.name }, [cell(layer)])
        : make("td", isText ? { class: "text" } : {}, [cell(layer)])
    );
    return make("tr", {}, cells);
  });
  const table = make("table", {}, [
    make("caption", {}, [`${layers.length} layers`]),
    make("thead", {}, [make("tr", {}, heads)]),
    make("tbody", {}, rows),
  ]);
  return make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Layers" }, [table]);
}
