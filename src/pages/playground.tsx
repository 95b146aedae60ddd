/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
/** The page `/playground`: prunes the sample layer or a user's file, and shows the errors, the mask and the weights. */

import type { PropsWithChildren } from "hono/jsx";
import { DEFAULT_DAMPING, MAX_DAMPING } from "../protocol/limits.ts";
import { DEFAULT_METHOD, METHOD_NAMES, METHODS } from "../protocol/methods.ts";
import { KeyField, renderPage, type ServerFacts } from "./layout.tsx";
import type { PageFiles } from "./page_files.ts";

type Options = readonly (readonly [value: string, name: string])[];

/**
 * The default method, and then the other methods from the end of the table, whose first rows are the simplest methods.
 */
const METHOD_OPTIONS = [
  DEFAULT_METHOD,
  ...METHOD_NAMES.filter((name) => name !== DEFAULT_METHOD).reverse(),
].map((name) => [name, `${METHODS[name].title} (${METHODS[name].summary})`] as const);

const PATTERNS: Options = [
  ["unstructured", "Unstructured"],
  ["2:4", "2:4"],
  ["4:8", "4:8"],
  ["1:4", "1:4"],
  ["1:2", "1:2"],
];

const BITS: Options = [
  ["", "no"],
  ["8", "to 8 bits"],
  ["4", "to 4 bits"],
  ["3", "to 3 bits"],
  ["2", "to 2 bits"],
];

export function playgroundHtml(facts: ServerFacts, files: PageFiles): string {
  const main = (
    <>
      <h1>Playground</h1>
      <p class="lead">
        A layer is a matrix of weights by which a network multiplies its inputs. Its statistics, which are
        sums of products of these inputs, say how much each weight matters. Pruning finds a mask, which marks
        the weights to keep, and sets all others to zero. It also changes the kept weights so that the outputs
        stay nearly the same.
      </p>
      <KeyField facts={facts} />
      <div class="columns">
        <Controls />
        <section id="result" aria-label="The result">
          <p class="note">The errors, the mask and the weights appear here.</p>
        </section>
      </div>
    </>
  );
  return renderPage(
    facts,
    { path: "/playground", title: "Pare playground", main, scripts: ["playground.js"] },
    files,
  );
}

function Controls() {
  return (
    <form id="prune-form" aria-label="The layer and the settings" novalidate>
      <fieldset>
        <legend>Layer</legend>
        <label class="drop" id="drop">
          <input type="file" id="file" accept=".safetensors" aria-describedby="file-note" />
          <span>Drop a safetensors file here, or choose one</span>
        </label>
        <p id="file-note" class="note">
          Tensors: <code>weight</code> [out, in], and <code>hessian</code>, <code>hessian_upper</code> or{" "}
          <code>inputs</code>. The file is sent only to this server and its storage.
        </p>
        <button type="button" id="sample" class="quiet">Take the sample layer</button>
        <p id="layer" role="status">No layer yet.</p>
      </fieldset>
      <fieldset>
        <legend>Settings</legend>
        <Setting
          id="method"
          label="Method"
          note="Chooses the weights to prune. Most methods also adjust the kept ones."
        >
          <Select id="method" options={METHOD_OPTIONS} />
        </Setting>
        <Setting id="pattern" label="Pattern" note="2:4 keeps at most two of every four neighbouring inputs.">
          <Select id="pattern" options={PATTERNS} />
        </Setting>
        <Setting
          id="sparsity"
          label="Sparsity"
          note="The share of zeros, which a pattern such as 2:4 implies."
        >
          <span class="row">
            <input
              type="range"
              id="sparsity"
              name="sparsity"
              min="0"
              max="0.95"
              step="0.05"
              value="0.5"
              aria-describedby="sparsity-note"
            />
            <output id="sparsity-value" for="sparsity">50 %</output>
          </span>
        </Setting>
        <details>
          <summary>More</summary>
          <Setting id="bits" label="Round kept weights" note="n bits leave 2ⁿ different values in each row.">
            <Select id="bits" options={BITS} />
          </Setting>
          <Setting id="damping" label="Damping" note="Makes uncertain statistics count less, from 0 to 1.">
            <input
              type="number"
              id="damping"
              name="damping"
              min="0"
              max={MAX_DAMPING}
              step="any"
              value={DEFAULT_DAMPING}
              aria-describedby="damping-note"
            />
          </Setting>
        </details>
      </fieldset>
      <button type="submit" id="prune" disabled>Prune again</button>
      <p id="summary" class="note" role="status" />
      <div id="progress" hidden>
        <progress id="progress-bar" max="1" aria-labelledby="progress-text" />
        <p class="note">
          <span id="progress-text" role="status" /> <span id="progress-amount" />
        </p>
      </div>
      <div id="problem" role="alert" />
    </form>
  );
}

/** One setting, with a line that explains it. */
function Setting(
  { id, label, note, children }: PropsWithChildren<{ id: string; label: string; note: string }>,
) {
  return (
    <div>
      <label for={id}>{label}</label>
      {children}
      <p id={`${id}-note`} class="note">{note}</p>
    </div>
  );
}

/** A choice of the values of the parameter `id`. */
function Select({ id, options }: { id: string; options: Options }) {
  return (
    <select id={id} name={id} aria-describedby={`${id}-note`}>
      {options.map(([value, name]) => <option value={value}>{name}</option>)}
    </select>
  );
}
