/** The script of the page `/runs`. It starts a run from the form, and follows the run in the address until it has ended. */

import { Pare, type Run, type RunRequest } from "../../client/mod.ts";
import { connectKeyField, currentKey, serverOptions } from "./api_key.ts";
import { byId, make, setText } from "./dom.ts";
import { formatBytes, formatSeconds, shortId } from "./format.ts";
import { fetchWithKey } from "./job/job_events.ts";
import { showState } from "./job/job_table.ts";
import { showProblem } from "./problem.ts";
import { showResult } from "./run/run_result.ts";

const POLL_MILLISECONDS = 1000;

const form = byId("run-form", HTMLFormElement), start = byId("start", HTMLButtonElement);
const section = byId("run", HTMLElement), stop = byId("stop", HTMLButtonElement);
const formProblem = byId("form-problem", HTMLElement), runProblem = byId("run-problem", HTMLElement);
const bar = byId("run-progress", HTMLProgressElement);

let following: AbortController | undefined;

function runs(): Pare["runs"] {
  return new Pare(serverOptions()).runs;
}

/** Returns the request of the form. Without a format, the sparsity is sent even if it is 0, because it has another default. */
async function requestOf(): Promise<RunRequest> {
  const format = byId("for", HTMLSelectElement).value;
  const sparsity = byId("sparsity", HTMLInputElement).valueAsNumber / 100;
  const [text] = byId("text", HTMLInputElement).files ?? [];
  return {
    model: byId("model", HTMLInputElement).value.trim(),
    for: format || undefined,
    sparsity: sparsity > 0 || format === "" ? sparsity : undefined,
    calibration: await text?.text(),
  };
}

async function submit(): Promise<void> {
  start.disabled = true;
  try {
    const { id } = await runs().create(await requestOf());
    showProblem(formProblem, undefined);
    location.hash = id;
  } catch (error) {
    showProblem(formProblem, error);
  } finally {
    start.disabled = false;
  }
}

/** Follows the run in the address, and hides the section if there is none. */
async function follow(): Promise<void> {
  following?.abort();
  const id = location.hash.slice(1), { signal } = following = new AbortController();
  section.hidden = id === "";
  showProblem(runProblem, undefined);
  if (id === "") return;
  setText(byId("run-title", HTMLElement), `Run ${shortId(id)}`);
  byId("result", HTMLElement).replaceChildren();
  byId("plan", HTMLElement).replaceChildren();
  try {
    for await (const run of runs().follow(id, { pollMs: POLL_MILLISECONDS, signal })) show(run);
  } catch (error) {
    if (!signal.aborted) showProblem(runProblem, error);
  }
}

function show(run: Run): void {
  const { state, progress, plan, result, error } = run, isOpen = state === "queued" || state === "running";
  setText(byId("run-title", HTMLElement), `${run.model} ${run.options.join(" ")}`);
  showState(byId("run-state", HTMLElement), state);
  bar.hidden = !isOpen;
  if (progress && progress.phase !== "planning") bar.value = progress.done / Math.max(1, progress.total);
  else bar.removeAttribute("value");
  const detail = progress
    ? `${progress.phase} ${progress.done} of ${progress.total}${
      progress.time_left === null ? "" : `, ${progress.time_left}`
    }`
    : state === "queued"
    ? "waits until the runs before it have ended"
    : state === "running"
    ? "starts"
    : "";
  setText(byId("run-detail", HTMLElement), detail);
  setText(stop, isOpen ? "Stop and delete" : "Delete");
  showProblem(runProblem, error === null ? undefined : new Error(error));
  const facts = plan && byId("plan", HTMLElement).childElementCount === 0
    ? [
      ["Time by the plan", formatSeconds(plan.seconds)],
      ["Memory", formatBytes(plan.memory_bytes)],
      ["Disk", formatBytes(plan.disk_bytes)],
      ["Layers", String(plan.layers)],
    ]
    : [];
  byId("plan", HTMLElement).append(
    ...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
  byId("plan", HTMLElement).hidden = result !== null;
  if (result) showResult(byId("result", HTMLElement), run.id, result, download);
}

/** Downloads a file with the key of the page. Without a key, the link itself downloads it. */
async function download(event: Event, id: string, name: string, bytes: number): Promise<void> {
  if (currentKey() === undefined) return;
  event.preventDefault();
  try {
    const pieces = await Array.fromAsync(runs().download(id, { name, bytes }));
    const href = URL.createObjectURL(new Blob(pieces));
    make("a", { href, download: name }).click();
    URL.revokeObjectURL(href);
  } catch (error) {
    showProblem(runProblem, error);
  }
}

async function remove(): Promise<void> {
  stop.disabled = true;
  try {
    await fetchWithKey(`/v1/runs/${encodeURIComponent(location.hash.slice(1))}`, {}, undefined, "DELETE");
    location.hash = "";
    byId("model", HTMLInputElement).focus();
  } catch (error) {
    showProblem(runProblem, error);
  } finally {
    stop.disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void submit();
});
stop.addEventListener("click", () => void remove());
addEventListener("hashchange", () => {
  void follow();
  if (!section.hidden) section.focus();
});
connectKeyField(() => void follow());
void follow();
