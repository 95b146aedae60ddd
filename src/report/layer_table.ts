/** The table of the pruned layers, with one row per layer. */

import { createElement, type Page, type PageElement } from "./dom.ts";
import { formatNumber, formatSeconds, formatShare } from "./format.ts";
import type { LayerRun, RunReport } from "./run_report.ts";
import { layerKind } from "./summary.ts";

/** The column with the sparsities that an allocation chose. It is shown only if there is an allocation. */
const ALLOCATED = "Allocated";

/** The column with the conjugate-gradient steps. It is shown only if a layer was refitted. */
const REFIT = "Refit steps";

/** The column with the calibration tokens. It is shown only if some tokens did not reach a layer. */
const TOKENS = "Tokens";

const COLUMNS: readonly { title: string; isText?: boolean; cell(layer: LayerRun, run: RunReport): string }[] =
  [
    { title: "Block", cell: ({ block }) => String(block) },
    { title: "Layer", isText: true, cell: layerKind },
    { title: "Error", cell: ({ relative_error }) => formatNumber(relative_error) },
    { title: "Zeros", cell: ({ sparsity }) => formatShare(sparsity) },
    {
      title: ALLOCATED,
      cell: ({ name }, { allocation }) => formatNumber(allocation?.sparsities[name] ?? null),
    },
    { title: "Size", cell: ({ rows, cols }) => `${rows} × ${cols}` },
    { title: TOKENS, cell: ({ tokens }) => tokens === undefined ? "all" : String(tokens) },
    { title: REFIT, cell: ({ refit_steps }) => String(refit_steps) },
    { title: "Damping", cell: ({ damping }) => damping === null ? "–" : String(damping) },
    { title: "Time", cell: ({ seconds }) => formatSeconds(seconds.total) },
  ];

/** Renders the table, inside a region that scrolls sideways if the table is wider than the screen. */
export function renderLayerTable(document: Page, run: RunReport): PageElement {
  const make = createElement.bind(null, document);
  const { layers } = run;
  const hidden = new Set([
    ...run.allocation ? [] : [ALLOCATED],
    ...layers.some(({ tokens }) => tokens !== undefined) ? [] : [TOKENS],
    ...layers.some(({ refit_steps }) => refit_steps > 0) ? [] : [REFIT],
  ]);
  const columns = COLUMNS.filter(({ title }) => !hidden.has(title));
  const headings = columns.map(({ title, isText }) =>
    make("th", { scope: "col", ...isText && { class: "text" } }, [title])
  );
  const rows = layers.map((layer) => {
    const cells = columns.map(({ title, isText, cell }) =>
      title === "Layer"
        ? make("th", { scope: "row", class: "text", title: layer.name }, [cell(layer, run)])
        : make("td", isText ? { class: "text" } : {}, [cell(layer, run)])
    );
    return make("tr", {}, cells);
  });
  const table = make("table", {}, [
    make("caption", {}, [`${layers.length} layers`]),
    make("thead", {}, [make("tr", {}, headings)]),
    make("tbody", {}, rows),
  ]);
  return make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Layers" }, [table]);
}
