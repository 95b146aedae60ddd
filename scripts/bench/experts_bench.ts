/**
 * Measures the perplexity of moe-sotu with fewer experts. The experts that remain are chosen by the score of REAP, as in
 * `pare shrink`, by the number of their tokens (frequency), by the sum of the router's factors (router), or at random.
 */

import { denoFileSystem as fs } from "../../src/cli/files/deno_file_system.ts";
import { openBackend } from "../../src/cli/open_backend.ts";
import { calibrationWindows, uniform } from "../../src/layer/calibration/windows.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { type Model, openModelFolder } from "../../src/model/model.ts";
import { bestExperts, type ExpertUse, measureExperts } from "../../src/prune/shrink/expert_scores.ts";
import { readUnits } from "../../src/prune/shrink/units.ts";
import { withoutExperts } from "../../src/prune/shrink/without_experts.ts";
import { fixtureModel } from "../fixtures/trained_models.ts";
import type { Bench } from "./bench.ts";
import { formatPercent, formatPerplexity, markdownTable } from "./report/markdown_table.ts";

const SHARES = [0.25, 0.5];

/** The random choices whose perplexities are averaged. */
const RANDOM_CHOICES = 5;

interface ExpertsCell {
  /** The share of removed experts. */
  readonly share: number;
  readonly dense: number;
  readonly reap: number;
  readonly frequency: number;
  readonly router: number;
  /** The mean over {@link RANDOM_CHOICES} choices. */
  readonly random: number;
}

interface ExpertsResults {
  readonly cells: readonly ExpertsCell[];
}

export const bench: Bench<object, ExpertsResults> = {
  description:
    "perplexity of a mixture with fewer experts: REAP, frequency, the router's factors, and chance",
  async measure({ backend: kind }, { save }) {
    await using cleanup = new AsyncDisposableStack();
    const backend = cleanup.adopt(await openBackend(kind), (opened) => opened.dispose());
    const { folder, seqlen, calibrationWindows: count, evaluationWindows, tokens } = fixtureModel("moe-sotu");
    const { checkpoint, model } = cleanup.use(await openModelFolder(folder, fs));
    const { calibration, evaluation } = await tokens();
    const uses = await measureExperts(
      model,
      backend,
      calibrationWindows(calibration, { windows: count, seqlen }),
    );
    const measure = async (measured: Model) => {
      const options = { seqlen, windows: evaluationWindows };
      return (await computePerplexity(measured, backend, evaluation, options)).perplexity;
    };
    const { count: experts } = readUnits("experts", checkpoint.config, model.spec),
      dense = await measure(model);
    const cells: ExpertsCell[] = [];
    for (const share of SHARES) {
      const remaining = experts - Math.round(share * experts);
      const measureBest = async (scoresOf: (use: ExpertUse) => readonly number[]) => {
        const kept = uses.map((use) => bestExperts(scoresOf(use), remaining));
        return await measure((await withoutExperts(checkpoint.config, model, kept)).model);
      };
      const random = uniform(1);
      let sum = 0;
      for (let choice = 0; choice < RANDOM_CHOICES; choice++) {
        sum += await measureBest(({ scores }) => scores.map(random));
      }
      const cell = {
        share,
        dense,
        reap: await measureBest(({ scores }) => scores),
        frequency: await measureBest(({ tokens }) => tokens),
        router: await measureBest(({ factors }) => factors),
        random: sum / RANDOM_CHOICES,
      };
      console.error(`at ${formatPercent(share)}: ${JSON.stringify(cell)}`);
      cells.push(cell);
      await save({ backend: kind, adapter: backend.adapter.name }, { cells });
    }
    return { cells };
  },
  passes: ({ cells }) => cells.every(({ reap, random }) => reap < random),
  tables: {
    perplexity: ({ cells }) =>
      markdownTable<ExpertsCell>([
        ["experts removed", ({ share }) => formatPercent(share)],
        ["dense", ({ dense }) => formatPerplexity(dense)],
        ["random", ({ random }) => formatPerplexity(random)],
        ["frequency", ({ frequency }) => formatPerplexity(frequency)],
        ["router", ({ router }) => formatPerplexity(router)],
        ["pare shrink (REAP)", ({ reap }) => formatPerplexity(reap)],
      ], cells),
  },
};
