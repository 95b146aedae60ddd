/**
 * The script of the page `/playground`. It prunes the sample layer when the page opens, and prunes again whenever the
 * user changes a setting or chooses another layer.
 */

import { sleep } from "../../base/waiting.ts";
import { type LayerQuery, Pare } from "../../client/mod.ts";
import type { MethodName } from "../../protocol/methods.ts";
import { connectKeyField, isKeyMissing, serverOptions } from "./api_key.ts";
import { byId, make, setText } from "./dom.ts";
import { formatBytes, formatShare } from "./format.ts";
import { describeLayer, type LayerInput, readLayerFile, requireStatistics } from "./layer/layer_input.ts";
import { type Progress, progressFetch } from "./layer/progress_fetch.ts";
import { type Baseline, showErrors, showResult } from "./layer/result_view.ts";
import { showProblem } from "./problem.ts";

const SAMPLE = "/assets/sample.safetensors";

/** The pause after the last change of a setting until the layer is pruned, in milliseconds. */
const PAUSE_MILLISECONDS = 250;

/** The time after which an operation shows its progress, in milliseconds. Shorter operations would only flicker. */
const SLOW_MILLISECONDS = 400;

const file = byId("file", HTMLInputElement), drop = byId("drop", HTMLLabelElement);
const form = byId("prune-form", HTMLFormElement), prune = byId("prune", HTMLButtonElement);
const method = byId("method", HTMLSelectElement), pattern = byId("pattern", HTMLSelectElement);
const sparsity = byId("sparsity", HTMLInputElement), summary = byId("summary", HTMLElement);
const problem = byId("problem", HTMLElement), result = byId("result", HTMLElement);
const placeholder = result.textContent.trim();

let layer: LayerInput | undefined;

/** The operation that runs. Another operation stops it. */
let running: AbortController | undefined;

/** Magnitude's error for the layer and the settings of the latest result, which do not change with the method. */
let baseline:
  | { readonly layer: LayerInput; readonly settings: string; readonly error: number | null }
  | undefined;

/** Starts an operation and stops the one before. An error of the operation replaces the result. */
async function operate(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  running?.abort();
  const controller = running = new AbortController(), { signal } = controller;
  const timer = setTimeout(() => running === controller && showRunning(true), SLOW_MILLISECONDS);
  showProblem(problem, undefined);
  setText(summary, "");
  try {
    await work(signal);
  } catch (error) {
    if (signal.aborted) return;
    clearResult();
    showProblem(problem, error);
  } finally {
    clearTimeout(timer);
    if (running === controller) stop();
  }
}

/** Stops the operation that runs, if there is one. */
function stop(): void {
  running?.abort();
  running = undefined;
  showRunning(false);
}

/** Takes the layer of a file and prunes it. @param load returns the file */
function takeLayer(name: string, load: (signal: AbortSignal) => Promise<Blob> | Blob): Promise<void> {
  return operate(async (signal) => {
    layer = undefined;
    prune.disabled = true;
    setText(byId("layer", HTMLElement), "No layer yet.");
    clearResult();
    const read = await readLayerFile(name, await load(signal));
    signal.throwIfAborted();
    layer = read;
    prune.disabled = false;
    setText(byId("layer", HTMLElement), describeLayer(layer));
    if (isKeyMissing()) setText(summary, "Give an API key above to prune the layer.");
    else await solve(layer, signal);
  });
}

function takeSample(): Promise<void> {
  return takeLayer("sample", async (signal) => {
    const response = await fetch(SAMPLE, { signal });
    if (!response.ok) throw new Error(`${SAMPLE}: the server answered with status ${response.status}`);
    return await response.blob();
  });
}

function takeFile(chosen: File | undefined): Promise<void> | undefined {
  return chosen && takeLayer(chosen.name, () => chosen);
}

/** Prunes the layer, if there is one, after a pause. Until then, the old result is dimmed and cannot be downloaded. */
function pruneAgain(pause = 0): Promise<void> | undefined {
  const input = layer;
  return input && operate(async (signal) => {
    setStale(true);
    await sleep(pause, signal);
    await solve(input, signal);
  });
}

/** Prunes the layer by the chosen method, shows the result, and then prunes it by magnitude to compare the errors. */
async function solve(input: LayerInput, signal: AbortSignal): Promise<void> {
  requireStatistics(input, method.value as MethodName);
  const query = readQuery(), name = method.selectedOptions[0].text.replace(/ \(.*/, "");
  const pare = new Pare({
    ...serverOptions(),
    retries: 2,
    fetch: progressFetch(reportProgress),
    onRetry: (error, wait) =>
      showProgress(`${error.message}. The next attempt is in ${Math.ceil(wait / 1000)} s.`),
  });
  showProgress("The request begins.");
  const answer = await pare.pruneLayer(input.tensors, query, { signal });
  showResult(result, input, answer, name);
  setStale(false);
  const show = (magnitude: Baseline) => setText(summary, showErrors(answer.report, name, magnitude));
  if (query.method === "magnitude") return show("same");
  const settings = JSON.stringify({ ...query, method: undefined });
  if (baseline?.layer !== input || baseline.settings !== settings) {
    show("pending");
    try {
      const { report } = await pare.pruneLayer(input.tensors, { ...query, method: "magnitude" }, { signal });
      baseline = { layer: input, settings, error: report.relative_error };
    } catch (error) {
      signal.throwIfAborted();
      show(null);
      return showProblem(problem, error);
    }
  }
  show(baseline.error);
}

/** Returns the parameters of the form, by the names of its controls, without controls that are empty or disabled. */
function readQuery(): LayerQuery {
  const given = [...new FormData(form)].filter(([, value]) => typeof value === "string" && value !== "");
  return Object.fromEntries(
    given.map(([name, value]) => [name, Number.isNaN(Number(value)) ? value : Number(value)]),
  );
}

/** Dims the result while it does not belong to the settings. A dimmed result takes no clicks and no keyboard focus. */
function setStale(isStale: boolean): void {
  result.inert = isStale;
}

function clearResult(): void {
  result.replaceChildren(make("p", { class: "note" }, placeholder));
  setStale(false);
}

function showRunning(isRunning: boolean): void {
  setText(prune, isRunning ? "Stop" : "Prune again");
  byId("progress", HTMLElement).hidden = !isRunning;
}

function reportProgress({ phase, loaded, total }: Progress): void {
  if (phase === "wait") return showProgress("The server prunes the layer.");
  const text = phase === "send" ? "The layer is sent." : "The answer is received.";
  showProgress(text, total === 0 ? undefined : { loaded, total });
}

/** Shows a step, and how many bytes of the body were transferred, if that is known. */
function showProgress(text: string, amount?: { loaded: number; total: number }): void {
  const bar = byId("progress-bar", HTMLProgressElement);
  if (amount === undefined) bar.removeAttribute("value");
  else bar.value = amount.loaded / amount.total;
  setText(byId("progress-text", HTMLElement), text);
  const bytes = amount === undefined ? "" : `${formatBytes(amount.loaded)} of ${formatBytes(amount.total)}`;
  setText(byId("progress-amount", HTMLElement), bytes);
}

function showSparsity(): void {
  sparsity.disabled = pattern.value !== "unstructured";
  const [kept, group] = pattern.value.split(":").map(Number);
  const share = sparsity.disabled ? 1 - kept / group : Number(sparsity.value);
  setText(byId("sparsity-value", HTMLElement), formatShare(share));
}

form.addEventListener("input", ({ target }) => {
  if (target === file) return;
  showSparsity();
  if (!isKeyMissing()) void pruneAgain(PAUSE_MILLISECONDS);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (prune.textContent === "Stop") {
    stop();
    clearResult();
  } else void pruneAgain();
});
file.addEventListener("change", () => void takeFile(file.files?.[0]));
byId("sample", HTMLButtonElement).addEventListener("click", () => void takeSample());
for (const name of ["dragenter", "dragover"] as const) {
  addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"] as const) {
  addEventListener(name, () => drop.classList.remove("over"));
}
addEventListener("drop", (event) => {
  event.preventDefault();
  void takeFile(event.dataTransfer?.files[0]);
});
connectKeyField(() => {
  if (isKeyMissing()) showProblem(problem, undefined);
  else void pruneAgain();
});
showSparsity();
void takeSample();
