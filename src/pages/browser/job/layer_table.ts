/** The table of the layers of one job. */

import type { LayerState } from "../../../client/mod.ts";
import { make, makeCell, setText } from "../dom.ts";
import { formatNumber, formatSeconds, formatShare } from "../format.ts";
import { shortId } from "./host_table.ts";
import { KeyedRows, type Row } from "./keyed_rows.ts";
import { showState } from "./job_state.ts";

/** Makes the table. */
export function layerTable(body: HTMLElement): KeyedRows<LayerState> {
  return new KeyedRows(body, ({ name }) => name, createRow);
}

function createRow({ name }: LayerState): Row<LayerState> {
  const chip = make("span"), note = make("span", { class: "sub" });
  const [zeros, error, damping, seconds] = ["Zeros", "Relative error", "Damping", "Seconds"].map((label) =>
    makeCell(label, { class: "number" })
  );
  const host = makeCell("Host", { class: "mono" });
  return {
    element: make(
      "tr",
      {},
      make("th", { scope: "row", class: "mono" }, name),
      makeCell("State", {}, chip, note),
      zeros,
      error,
      damping,
      seconds,
      host,
    ),
    update: ({ state, report, host: hostId, attempts, error: reason }) => {
      showState(chip, state);
      setText(note, noteOf(attempts, reason));
      setText(zeros, report ? formatShare(report.zeros / (report.rows * report.cols)) : "");
      setText(error, number(report?.relative_error));
      setText(damping, number(report?.damping));
      setText(seconds, report ? formatSeconds(report.seconds.total) : "");
      setText(host, hostId === null ? "" : shortId(hostId));
    },
  };
}

function noteOf(attempts: number, error: LayerState["error"]): string {
  if (error !== null) return `${error.code}: ${error.detail}`;
  return attempts > 1 ? `attempt ${attempts}` : "";
}

function number(value: number | null | undefined): string {
  if (value === undefined) return "";
  return value === null ? "–" : formatNumber(value);
}
