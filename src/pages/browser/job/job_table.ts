/** The table of jobs, and how the state of a job or of a layer is shown. */

import type { JobState, JobSummary } from "../../../client/mod.ts";
import { hasEnded } from "../../../protocol/job_state.ts";
import { make, setText } from "../dom.ts";
import { formatAge, shortId } from "../format.ts";
import { KeyedRows, type Row } from "./keyed_rows.ts";

/** Makes the table. @param cancel called with the id of a job to cancel */
export function jobTable(body: HTMLElement, cancel: (id: string) => void): KeyedRows<JobSummary> {
  return new KeyedRows(body, ({ id }) => id, (job) => createRow(job, cancel));
}

function createRow({ id, name, created }: JobSummary, cancel: (id: string) => void): Row<JobSummary> {
  const title = name ?? shortId(id);
  const chip = make("span"), progress = make("progress", { max: "1", "aria-label": `Progress of ${title}` });
  const count = make("span"), age = make("td");
  const button = make(
    "button",
    { type: "button", class: "quiet", "aria-label": `Cancel ${title}` },
    "Cancel",
  );
  button.addEventListener("click", () => cancel(id));
  const link = make("a", { href: `#${id}` }, title);
  return {
    element: make(
      "tr",
      {},
      make(
        "th",
        { scope: "row" },
        link,
        make("div", { class: "note" }, name === null ? "" : shortId(id)),
      ),
      make("td", {}, chip),
      make("td", {}, make("span", { class: "row" }, progress, count)),
      age,
      make("td", {}, button),
    ),
    update: ({ state, layers }) => {
      const ended = layers.done + layers.failed + layers.cancelled,
        all = ended + layers.queued + layers.running;
      showState(chip, state);
      progress.value = ended / all;
      setText(count, `${ended} of ${all}${layers.failed > 0 ? `, ${layers.failed} failed` : ""}`);
      setText(age, formatAge(Date.now() - Date.parse(created)));
      button.hidden = hasEnded(state);
    },
  };
}

/** Shows `state` in an element, as text and as a class. */
export function showState(element: HTMLElement, state: JobState): void {
  setText(element, state);
  element.className = `state ${state}`;
}
