/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
/**
 * Renders `report.html`, a page about one run of `pare prune`, for screens of any width and for paper. The
 * page is self-contained: it loads nothing from a network and runs no script, and its content security policy
 * forbids network requests and scripts. Everything on the page comes from `pare.json`.
 */

import content from "../../pages/style/content.css" with { type: "text" };
import frame from "../../pages/style/frame.css" with { type: "text" };
import simple from "simpledotcss/simple.min.css" with { type: "text" };
import own from "./style.css" with { type: "text" };
import { raw } from "hono/html";
import type { PropsWithChildren } from "hono/jsx";
import {
  drawBlockErrorChart,
  drawErrorChart,
  drawReconstructionChart,
  drawSparsityChart,
  drawTimeChart,
  timeDescription,
} from "./charts.ts";
import { KeyFigures } from "./key_figures.tsx";
import { LayerTables } from "./layer_table.tsx";
import { RepeatCommand, RunDetails } from "./run_details.tsx";
import { RUN_REPORT_FILE } from "./file_names.ts";
import type { RunReport } from "./run_report.ts";
import { layersWithFewTokens, runTitle, summarySentence } from "./summary.ts";

/** Renders the page as HTML text. The same run always gives the same text. */
export function renderReport(run: RunReport): string {
  const title = runTitle(run);
  const page = (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'" />
        <title>{title}</title>
        <style>{raw(`@layer{${simple}}${frame}${content}${own}`)}</style>
      </head>
      <body>
        <main>
          <header>
            <strong>Pare</strong>
            <h1>{title}</h1>
            <p class="lead">{summarySentence(run)}</p>
          </header>
          <KeyFigures run={run} />
          <section>
            <h2>Details of the run</h2>
            <RunDetails run={run} />
            <RepeatCommand command={run.command} />
          </section>
          <section class="charts" aria-label="Charts">
            <Chart heading="Relative error" svg={drawErrorChart(run)}>
              The squared error that pruning causes in a layer's outputs on the calibration text, divided by
              the squared norm of the outputs.
            </Chart>
            <Chart heading="Error of the blocks" svg={drawBlockErrorChart(run)}>
              The squared error that pruning a block causes in its output, divided by the squared norm of the
              output: the mean over the tokens of {run.calibration.validation_samples}{" "}
              windows that were never fitted.
            </Chart>
            <Chart heading="Reconstruction" svg={drawReconstructionChart(run)}>
              The error of the output of each block before and after its kept weights, its biases and its
              norms were trained.
            </Chart>
            <Chart heading="Sparsity" svg={drawSparsityChart(run)}>
              The fraction of zeros among the weights of the pruned layers.
            </Chart>
            <Chart heading="Time" svg={drawTimeChart(run)}>
              The seconds spent on the layers of each block, by phase. {timeDescription(run)}
            </Chart>
          </section>
          <section>
            <h2>Layers</h2>
            <p class="note">Error is the relative error. Time does not include calibration.</p>
            {(run.warnings ?? []).map((text) => <p class="note">Warning: {text}.</p>)}
            {fewTokensNote(run).map((text) => <p class="note">{text}</p>)}
            <LayerTables run={run} />
          </section>
          <footer class="note">
            The data of this page is in the file {RUN_REPORT_FILE} in the same folder.
          </footer>
        </main>
      </body>
    </html>
  );
  return `<!DOCTYPE html>${page}`;
}

/** A chart with its caption. Empty without an SVG. */
function Chart({ heading, svg, children }: PropsWithChildren<{ heading: string; svg?: string }>) {
  return svg !== undefined && (
    <figure>
      <h2>{heading}</h2>
      {raw(svg)}
      <figcaption>{children}</figcaption>
    </figure>
  );
}

/** The warning about layers with few calibration tokens, if there are any. */
function fewTokensNote({ layers }: RunReport): string[] {
  const few = layersWithFewTokens(layers), unreached = few.filter(({ tokens }) => tokens === 0).length;
  if (few.length === 0) return [];
  return [
    `Warning: ${few.length} layers were reached by fewer calibration tokens than they have columns, and ` +
    `${unreached} of them by none. Their statistics say little, so they were pruned with the largest damping, or by ` +
    "magnitude if no token reached them. A longer calibration text reaches more experts.",
  ];
}
