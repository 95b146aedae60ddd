/** The main results of a run, which the report shows first: sparsity, perplexity, file size and time. */

import { createElement, type Page, type PageElement } from "./dom.ts";
import { formatBytes, formatCount, formatSeconds, formatShare } from "./format.ts";
import type { RunReport } from "./run_report.ts";
import { formatPhases } from "./run_seconds.ts";
import { totals } from "./summary.ts";

/** One result: its name, its value, and a note that explains the value. */
interface KeyFigure {
  readonly name: string;
  readonly value: string;
  readonly note: string;
}

/** Renders the results as a description list. Perplexity is included if it was measured. */
export function renderKeyFigures(document: Page, run: RunReport): PageElement {
  const make = createElement.bind(null, document);
  const figures = [sparsity(run), ...run.perplexity.map(perplexity), size(run), time(run)];
  return make(
    "dl",
    { class: "figures" },
    figures.map(({ name, value, note }) =>
      make("div", {}, [
        make("dt", {}, [name]),
        make("dd", { class: "value" }, [value]),
        make("dd", { class: "note" }, [note]),
      ])
    ),
  );
}

function sparsity({ layers }: RunReport): KeyFigure {
  const { zeros, entries } = totals(layers);
  return {
    name: "Sparsity",
    value: formatShare(entries === 0 ? 0 : zeros / entries),
    note: `${formatCount(zeros)} of ${formatCount(entries)} weights in ${layers.length} layers are zero`,
  };
}

function perplexity({ text, seqlen, windows, dense, pruned }: RunReport["perplexity"][number]): KeyFigure {
  const after = pruned === null ? "not finite" : pruned.toFixed(2);
  return {
    name: "Perplexity",
    value: dense === null ? after : `${dense.toFixed(2)} → ${after}`,
    note: `${
      dense === null ? "after pruning" : "before and after pruning"
    }, on ${text}: ${windows} windows of ${seqlen} tokens`,
  };
}

function size({ format, bytes: { dense, written } }: RunReport): KeyFigure {
  return {
    name: "Weight files",
    value: formatBytes(written),
    note: format === "dense"
      ? "dense format: zeros take as much space as other weights"
      : `${format} format: ${formatShare(1 - written / dense)} less than the ${
        formatBytes(dense)
      } of the dense format`,
  };
}

function time({ seconds, resumed }: RunReport): KeyFigure {
  const times = resumed === 1 ? "once" : `${resumed} times`;
  return {
    name: "Time",
    value: formatSeconds(seconds.total),
    note: formatPhases(seconds) + (resumed > 0 ? `; resumed ${times}` : ""),
  };
}
