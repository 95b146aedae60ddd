/** The figures a reader looks for first: sparsity, perplexity, size, time. */

import { element, type Page, type PageElement } from "./dom.ts";
import { formatBytes, formatCount, formatSeconds, formatShare } from "./format.ts";
import type { RunReport } from "./run_report.ts";
import { totals } from "./summary.ts";

/** One figure. */
interface Figure {
  readonly name: string;
  readonly value: string;
  readonly note: string;
}

/** The figures as a description list. Perplexity is there where it was measured. */
export function keyFigures(document: Page, run: RunReport): PageElement {
  const make = element.bind(null, document);
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

function sparsity({ layers }: RunReport): Figure {
  const { zeros, entries } = totals(layers);
  return {
    name: "Sparsity",
    value: formatShare(entries === 0 ? 0 : zeros / entries),
    note: `${formatCount(zeros)} of ${formatCount(entries)} weights in ${layers.length} layers are zero`,
  };
}

function perplexity({ text, seqlen, windows, dense, pruned }: RunReport["perplexity"][number]): Figure {
  const after = pruned === null ? "not finite" : pruned.toFixed(2);
  return {
    name: "Perplexity",
    value: dense === null ? after : `${dense.toFixed(2)} → ${after}`,
    note: `${
      dense === null ? "pruned" : "dense, then pruned"
    }, on ${text}: ${windows} windows of ${seqlen} tokens`,
  };
}

function size({ format, bytes: { dense, written } }: RunReport): Figure {
  return {
    name: "Weight files",
    value: formatBytes(written),
    note: format === "dense"
      ? "dense: zeros take as much room as weights; pare pack makes them smaller"
      : `as ${format}, ${formatShare(1 - written / dense)} less than ${formatBytes(dense)} dense`,
  };
}

function time({ seconds, resumed }: RunReport): Figure {
  const times = resumed === 1 ? "once" : `${resumed} times`;
  return {
    name: "Time",
    value: formatSeconds(seconds.total),
    note: `calibration ${formatSeconds(seconds.calibration)}, layers ${formatSeconds(seconds.layers)}` +
      (resumed > 0 ? `; taken up again ${times}` : ""),
  };
}
