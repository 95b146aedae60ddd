/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
/** The page `/runs` of a host: starts a run of a whole model, follows it, and shows and downloads its result. */

import { KeyField, renderPage, Section, type ServerFacts } from "./layout.tsx";
import type { PageFiles } from "./page_files.ts";

/** The format that is chosen at first, which most programs of llama.cpp's family run fast. */
const FIRST_FORMAT = "gguf:q4_0";

/** @param formats the values of the member `for`, which the form offers */
export function runsHtml(facts: ServerFacts, formats: readonly string[], files: PageFiles): string {
  const main = (
    <>
      <h1>Runs</h1>
      <p class="lead">
        A run makes a smaller model: it rounds the weights to a format with fewer bits, sets a share of them
        to zero, or both. The host does the work. This page may be closed meanwhile.
      </p>
      <KeyField facts={facts} />
      <div class="columns">
        <form id="run-form" aria-label="The model and the settings">
          <label for="model">Model</label>
          <input
            id="model"
            required
            autocomplete="off"
            spellcheck={false}
            placeholder="Qwen/Qwen3-0.6B"
            aria-describedby="model-note"
          />
          <p id="model-note" class="note">OWNER/NAME on the Hugging Face hub, or a model of this host.</p>
          <label for="for">Format</label>
          <select id="for" aria-describedby="for-note">
            {formats.map((name) => <option selected={name === FIRST_FORMAT}>{name}</option>)}
            <option value="">not rounded</option>
          </select>
          <p id="for-note" class="note">The files gguf are for llama.cpp. The digit is the number of bits.</p>
          <label for="sparsity">Zeros in percent</label>
          <input
            id="sparsity"
            type="number"
            min="0"
            max="95"
            step="any"
            value="0"
            required
            aria-describedby="sparsity-note"
          />
          <p id="sparsity-note" class="note">The share of the weights that is set to zero.</p>
          <label for="text">Calibration text</label>
          <input id="text" type="file" accept=".txt,text/plain" aria-describedby="text-note" />
          <p id="text-note" class="note">
            A text file of the kind that the model will read. A mixed text comes with Pare.
          </p>
          <button type="submit" id="start">Start the run</button>
          <div id="form-problem" role="alert" />
        </form>
        <section id="run" aria-labelledby="run-title" tabindex={-1} hidden>
          <h2 id="run-title">Run</h2>
          <div class="row">
            <span id="run-state" class="state" role="status" />
            <progress id="run-progress" max="1" aria-label="Progress of the run" />
            <button type="button" id="stop" class="quiet">Stop and delete</button>
          </div>
          <p id="run-detail" class="note" />
          <div id="run-problem" role="alert" />
          <dl id="plan" class="figures" aria-label="The plan" />
          <div id="result" />
        </section>
      </div>
    </>
  );
  return renderPage(facts, { path: "/runs", title: "Pare runs", main, scripts: ["runs.js"] }, files);
}

/** The page `/runs` of a host that accepts no runs. */
export function noRunsHtml(facts: ServerFacts, files?: PageFiles): string {
  const main = (
    <Section id="runs-title" title="Runs">
      <p>
        This host accepts no runs of whole models. Its operator starts it with{" "}
        <code>pare serve --runs FOLDER</code>.
      </p>
    </Section>
  );
  return renderPage(facts, { path: "/runs", title: "Pare runs", main }, files);
}
