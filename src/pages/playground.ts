/** The page `/playground`: prunes a layer that the user chooses, and shows the report, the mask and the weights. */

import { renderKeyField, renderPage, type ServerFacts } from "./layout.ts";
import type { PageFiles } from "./page_files.ts";

const METHODS = [
  ["sparsegpt", "SparseGPT"],
  ["alps", "ALPS (slower, a better mask)"],
  ["obc", "ExactOBS (one weight at a time)"],
  ["adaprune", "AdaPrune (magnitude, then a refit)"],
  ["wanda", "Wanda (no update)"],
  ["magnitude", "Magnitude (no statistics)"],
];

const PATTERNS = [
  ["unstructured", "Unstructured"],
  ["2:4", "2:4"],
  ["4:8", "4:8"],
  ["1:4", "1:4"],
  ["1:2", "1:2"],
];

const MAIN = `<h1>Playground</h1>
<p class="lead">Prune one linear layer on this server, and see what changes.</p>
KEY_FIELD
<div class="bench">
<form id="prune-form" class="card controls" aria-label="The layer and the settings">
<fieldset>
<legend>Layer</legend>
<label class="drop" id="drop">
<input type="file" id="file" accept=".safetensors" aria-describedby="file-note">
<span>Drop a safetensors file here, or choose one</span>
</label>
<p id="file-note" class="note">Tensors: <code>weight</code> [out, in], and <code>hessian</code>, <code>hessian_upper</code> or <code>inputs</code>. The file goes to this server only.</p>
<button type="button" id="sample" class="quiet">Take the sample layer</button>
<p id="layer" class="layer" role="status">No layer yet.</p>
</fieldset>
<fieldset>
<legend>Settings</legend>
<label>Method <select id="method">${options(METHODS)}</select></label>
<label>Pattern <select id="pattern">${options(PATTERNS)}</select></label>
<label id="sparsity-field">Sparsity <span class="pair"><input type="range" id="sparsity" min="0" max="0.95" step="0.05" value="0.5"><output id="sparsity-value" for="sparsity">50 %</output></span></label>
<label>Round kept weights <select id="bits"><option value="">no</option><option value="8">to 8 bits</option><option value="4">to 4 bits</option><option value="3">to 3 bits</option><option value="2">to 2 bits</option></select></label>
</fieldset>
<div class="row"><button type="submit" id="prune" disabled>Prune the layer</button><button type="button" id="stop" class="quiet" hidden>Stop</button></div>
<div id="progress" hidden><progress id="progress-bar" max="1" aria-labelledby="progress-text"></progress><p class="note"><span id="progress-text" role="status"></span> <span id="progress-amount" class="number"></span></p></div>
<div id="problem" role="alert"></div>
</form>
<section id="result" class="result" aria-label="The result" tabindex="-1">
<p class="placeholder">The report, the mask and the weights appear here.</p>
</section>
</div>`;

/** Returns the page as HTML. */
export function playgroundHtml(facts: ServerFacts, files: PageFiles): string {
  const main = MAIN.replace("KEY_FIELD", () => renderKeyField(facts));
  return renderPage(
    facts,
    { path: "/playground", title: "Pare playground", main, script: "playground.js" },
    files,
  );
}

function options(entries: readonly (readonly string[])[]): string {
  return entries.map(([value, name]) => `<option value="${value}">${name}</option>`).join("");
}
