/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
/** The main results of a run, which the report shows first: sparsity, perplexity, file size and time. */

import { bytesText, countText, divergenceText, secondsText, shareText } from "./format.ts";
import type { RunReport } from "./run_report.ts";
import { phasesText } from "./run_seconds.ts";
import { changesOf, removalOf, removedShare, roundedBits, sparsityOf, totals } from "./summary.ts";

/** One result: its name, its value, and a note that explains the value. */
interface KeyFigure {
  readonly name: string;
  readonly value: string;
  readonly note: string;
}

/** The results as a description list. Perplexity is included if it was measured. */
export function KeyFigures({ run }: { run: RunReport }) {
  const isOnlyRounded = changesOf(run).join() === "rounded";
  const figures = [
    ...isOnlyRounded ? [] : [sparsity(run)],
    ...rounding(run),
    ...run.perplexity.map(perplexity),
    size(run),
    time(run),
  ];
  return (
    <dl class="figures">
      {figures.map(({ name, value, note }) => (
        <div>
          <dt>{name}</dt>
          <dd>{value}</dd>
          <dd class="note">{note}</dd>
        </div>
      ))}
    </dl>
  );
}

function sparsity(run: RunReport): KeyFigure {
  const { layers } = run, removal = removalOf(run), { zeros, entries } = totals(layers);
  if (removal) {
    const { dense, shrunk } = removal.parameters;
    return {
      name: "Fewer parameters",
      value: removedShare(removal),
      note: `${countText(shrunk)} of ${countText(dense)} remain`,
    };
  }
  return {
    name: "Sparsity",
    value: shareText(sparsityOf(layers)),
    note: `${countText(zeros)} of ${countText(entries)} weights in ${
      countText(layers.length)
    } layers are zero`,
  };
}

/** The grids of the parameters of the run, which a profile can change for some layers. */
function rounding(run: RunReport): KeyFigure[] {
  const bits = roundedBits(run), { group_size: size, symmetric, profile } = run.parameters;
  if (bits === undefined) {
    if (run.format !== "pack-quantized") return [];
    return [{
      name: "Rounding",
      value: "by profile",
      note: "the profile sets the bits and the grids of the kept weights",
    }];
  }
  const grids = size ? `one grid per row and ${size} columns` : "one grid per row";
  const others = profile === undefined ? "" : "; the profile can set other grids";
  return [{
    name: "Rounding",
    value: `${bits} bits`,
    note: `the kept weights have ${2 ** bits} values, ${grids}, ${
      symmetric ? "symmetric" : "asymmetric"
    }${others}`,
  }];
}

function perplexity(
  { text, seqlen, windows, dense, pruned, divergence }: RunReport["perplexity"][number],
): KeyFigure {
  const after = pruned === null ? "not finite" : pruned.toFixed(2);
  return {
    name: "Perplexity",
    value: dense === null ? after : `${dense.toFixed(2)} → ${after}`,
    note:
      `${
        dense === null ? "after the run" : "before and after the run"
      }, on ${text}: ${windows} windows of ${seqlen} tokens` +
      (typeof divergence === "number"
        ? `. KL divergence from the dense model: ${divergenceText(divergence)}`
        : ""),
  };
}

function size(run: RunReport): KeyFigure {
  const { format, bytes: { dense, written } } = run;
  return {
    name: "Weight files",
    value: bytesText(written),
    note: format === "dense" && !removalOf(run)
      ? "dense format: zeros take as much space as other weights"
      : `${format} format: ${shareText(1 - written / dense)} less than the ${
        bytesText(dense)
      } of the dense format`,
  };
}

function time({ seconds, resumed }: RunReport): KeyFigure {
  const times = resumed === 1 ? "once" : `${resumed} times`;
  return {
    name: "Time",
    value: secondsText(seconds.total),
    note: phasesText(seconds) + (resumed > 0 ? `; resumed ${times}` : ""),
  };
}
