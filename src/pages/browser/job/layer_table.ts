/**
 * The table of the layers of one job. The layers of one block of the model form a group. The heading of the group has
 * the name of the block, and opens and closes the group. The rows show the rest of each layer's name. A job of whole
 * blocks has one row per block, and no groups.
 */

import type { LayerState } from "../../../client/mod.ts";
import { make, setText } from "../dom.ts";
import { formatNumber, formatSeconds, formatShare, shortId } from "../format.ts";
import { hasEnded } from "../../../protocol/job_state.ts";
import { showState } from "./job_table.ts";
import { KeyedRows, type Row } from "./keyed_rows.ts";

/** The name of a layer within a block: the name of the block, which ends with its number, and the rest. */
const NAME_IN_BLOCK = /^(.+?\.\d+)\.(.+)$/;

/** The largest number of blocks that are open at first. */
const OPEN_BLOCKS = 4;

/** The layers of one block. Layers without a block have the block "", which has no heading. */
interface Group {
  readonly body: HTMLTableSectionElement;
  readonly rows: KeyedRows<LayerState>;
  readonly layers: Map<string, LayerState>;
  readonly count: HTMLElement;
  open(isOpen: boolean): void;
}

/** The table, with its groups by the names of their blocks. */
export class LayerTable {
  readonly #groups = new Map<string, Group>();

  constructor(private readonly table: HTMLTableElement) {}

  /** Shows exactly these layers, which all belong to one job. */
  show(layers: readonly LayerState[]): void {
    const blocks = Map.groupBy(layers, ({ name }) => blockOf(name));
    for (const [block, { body }] of this.#groups) {
      if (blocks.has(block)) continue;
      body.remove();
      this.#groups.delete(block);
    }
    const isNew = this.#groups.size === 0;
    for (const layer of layers) this.update(layer);
    if (!isNew) return;
    for (const [block, { open }] of this.#groups) {
      open(blocks.size <= OPEN_BLOCKS || blocks.get(block)!.some(({ state }) => state === "failed"));
    }
  }

  /** Shows a newer state of a layer. A block with a failed layer is opened. */
  update(layer: LayerState): void {
    const block = blockOf(layer.name), group = this.#groups.get(block) ?? this.#addGroup(block);
    const failedBefore = group.layers.get(layer.name)?.state === "failed";
    group.layers.set(layer.name, layer);
    group.rows.update(layer);
    const states = [...group.layers.values()].map(({ state }) => state);
    const failed = states.filter((state) => state === "failed").length;
    setText(
      group.count,
      `${states.filter(hasEnded).length} of ${states.length} layers${failed > 0 ? `, ${failed} failed` : ""}`,
    );
    if (layer.state === "failed" && !failedBefore) group.open(true);
  }

  #addGroup(block: string): Group {
    const body = make("tbody"), count = make("span", { class: "note" });
    const button = make("button", { type: "button", class: "quiet" }, block);
    const open = (isOpen: boolean) => {
      body.classList.toggle("closed", !isOpen && block !== "");
      button.setAttribute("aria-expanded", String(isOpen));
    };
    button.addEventListener("click", () => open(body.classList.contains("closed")));
    if (block !== "") {
      const heading = make("th", { scope: "rowgroup", colspan: "7" }, button, " ", count);
      body.append(make("tr", { class: "block" }, heading));
    }
    const rows = new KeyedRows<LayerState>(body, ({ name }) => name, createRow);
    const group = { body, rows, layers: new Map<string, LayerState>(), count, open };
    open(true);
    this.#groups.set(block, group);
    this.table.append(body);
    return group;
  }
}

function blockOf(name: string): string {
  return NAME_IN_BLOCK.exec(name)?.[1] ?? "";
}

function createRow({ name }: LayerState): Row<LayerState> {
  const chip = make("span"), note = make("div", { class: "note" });
  const [zeros, error, damping, seconds, host] = Array.from(
    { length: 5 },
    () => make("td", { class: "number" }),
  );
  const shortName = NAME_IN_BLOCK.exec(name)?.[2] ?? name;
  return {
    element: make(
      "tr",
      {},
      make("th", { scope: "row", title: name }, shortName),
      make("td", {}, chip, note),
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
