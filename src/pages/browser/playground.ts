/** The script of the page `/playground`. It uses the SDK, and no request leaves for another server. */

import { type LayerQuery, Pare } from "../../client/mod.ts";
import { connectKeyField, serverOptions } from "./api_key.ts";
import { byId, setText } from "./dom.ts";
import { formatBytes, formatShare } from "./format.ts";
import { describeLayer, type LayerInput, readLayer } from "./layer/layer_input.ts";
import { showProblem } from "./problem.ts";
import { type Progress, progressFetch } from "./layer/progress_fetch.ts";
import { showResult } from "./layer/result_view.ts";

const SAMPLE = "/assets/sample.safetensors";

const file = byId("file", HTMLInputElement), drop = byId("drop", HTMLLabelElement);
const prune = byId("prune", HTMLButtonElement), stop = byId("stop", HTMLButtonElement);
const pattern = byId("pattern", HTMLSelectElement), sparsity = byId("sparsity", HTMLInputElement);
const problem = byId("problem", HTMLElement), result = byId("result", HTMLElement);

let layer: LayerInput | undefined, running: AbortController | undefined;

/** Takes the layer of a file. @param load returns the bytes of the file */
async function takeLayer(name: string, load: () => Promise<ArrayBuffer>): Promise<void> {
  layer = undefined;
  try {
    layer = readLayer(name, new Uint8Array(await load()));
    showProblem(problem, undefined);
    setText(byId("layer", HTMLElement), describeLayer(layer));
  } catch (error) {
    setText(byId("layer", HTMLElement), "No layer yet.");
    showProblem(problem, error);
  }
  prune.disabled = layer === undefined;
}

async function takeSample(): Promise<void> {
  await takeLayer("sample", async () => {
    const response = await fetch(SAMPLE);
    if (!response.ok) throw new Error(`${SAMPLE}: the server answered with status ${response.status}`);
    return await response.arrayBuffer();
  });
}

function takeFile(chosen: File | undefined): Promise<void> | undefined {
  return chosen && takeLayer(chosen.name, () => chosen.arrayBuffer());
}

/** Returns the parameters of the form. A pattern n:m implies the sparsity, so it is not sent then. */
function readQuery(): LayerQuery {
  const bits = byId("bits", HTMLSelectElement).value;
  return {
    method: byId("method", HTMLSelectElement).value as LayerQuery["method"],
    ...pattern.value === "unstructured"
      ? { sparsity: Number(sparsity.value) }
      : { pattern: pattern.value as LayerQuery["pattern"] },
    ...bits === "" ? {} : { bits: Number(bits) },
  };
}

async function run(input: LayerInput): Promise<void> {
  const controller = running = new AbortController();
  showProblem(problem, undefined);
  setRunning(true);
  showProgress("The request begins.");
  try {
    const pare = new Pare({
      ...serverOptions(),
      retries: 2,
      fetch: progressFetch(reportProgress),
      onRetry: (error, wait) =>
        showProgress(`${error.message}. The next attempt is in ${Math.ceil(wait / 1000)} s.`),
    });
    const answer = await pare.pruneLayer(input.tensors, readQuery(), { signal: controller.signal });
    showResult(result, input, answer);
    result.focus({ preventScroll: true });
    result.scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (!controller.signal.aborted) showProblem(problem, error);
  } finally {
    setRunning(false);
  }
}

function setRunning(isRunning: boolean): void {
  prune.disabled = isRunning || layer === undefined;
  stop.hidden = !isRunning;
  byId("progress", HTMLElement).hidden = !isRunning;
}

function reportProgress({ phase, loaded, total }: Progress): void {
  if (phase === "wait") return showProgress("The server prunes the layer.");
  const text = phase === "send" ? "The layer is sent." : "The answer is received.";
  showProgress(text, total === 0 ? undefined : { loaded, total });
}

/** Shows a step, and how many bytes of the body were transferred, if that is known. Only the step is announced by screen readers. */
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

file.addEventListener("change", () => void takeFile(file.files?.[0]));
byId("sample", HTMLButtonElement).addEventListener("click", () => void takeSample());
pattern.addEventListener("change", showSparsity);
sparsity.addEventListener("input", showSparsity);
stop.addEventListener("click", () => running?.abort());
byId("prune-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  if (layer) void run(layer);
});
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
connectKeyField(() => showProblem(problem, undefined));
showSparsity();
