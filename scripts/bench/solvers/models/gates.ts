/**
 * The gates of the solvers bench. A gate is a requirement on the measured figures that is printed as passed
 * or failed. A failed gate does not change the figures or end the bench. The test models are the three small
 * models of this repository with names that end in `-sotu`.
 */

import { type Column, markdownTable } from "../../report/markdown_table.ts";
import { findCell, type ModelResult } from "./bench_models.ts";
import { BASELINE, GPTQ, JOINT_METHODS, METHODS, TARGETS } from "./cells.ts";
import { errorRatios } from "./summary.ts";
import { isTestModel, type SolverResults } from "./tables.ts";

/** One requirement and its outcome. */
export interface Gate {
  readonly requirement: string;
  readonly measured: string;
  /** Undefined if the figures have not been measured yet. */
  readonly passed: boolean | undefined;
}

const ALPS = "ALPS default";

/**
 * The upper limits for ALPS at each target. The limited figure is the geometric mean, over all layers of the
 * test models, of the error of ALPS divided by SparseGPT's error of the same layer.
 */
const LARGEST_MEANS: Readonly<Record<string, number>> = { "50 %": 0.50, "70 %": 0.52, "2:4": 0.60 };

/** The perplexities of the test models at 50 %. They were measured with a prototype of ALPS. */
const EXPECTED_PERPLEXITIES: Readonly<Record<string, number>> = {
  "opt-sotu": 47.8,
  "llama-sotu": 43.9,
  "bloom-sotu": 42.8,
};

/** The largest allowed relative difference from an expected perplexity. */
const PERPLEXITY_TOLERANCE = 0.01;

/** Evaluates all gates. */
export function evaluateGates({ models }: SolverResults): Gate[] {
  const testModels = models.filter(isTestModel);
  return [
    ...Object.entries(LARGEST_MEANS).map(([target, limit]) => meanGate(testModels, target, limit)),
    ...Object.entries(EXPECTED_PERPLEXITIES).map(([name, expected]) => expectedGate(models, name, expected)),
    ...models.map(belowSparseGptGate),
    ...METHODS.filter(({ query }) => query.method === "alps").map(({ title }) =>
      worstLayerGate(models, title)
    ),
    ...JOINT_METHODS.map((method) => jointGate(testModels, method)),
  ];
}

/** Renders one row per gate. */
export function gateTable(gates: readonly Gate[]): string {
  const columns: Column<Gate>[] = [
    ["requirement", ({ requirement }) => requirement],
    ["measured", ({ measured }) => measured],
    ["outcome", ({ passed }) => passed === undefined ? "not measured" : passed ? "pass" : "FAIL"],
  ];
  return markdownTable(columns, gates);
}

function meanGate(models: readonly ModelResult[], target: string, limit: number): Gate {
  const isComplete = Object.keys(EXPECTED_PERPLEXITIES).every((name) =>
    models.some((model) => model.name === name)
  );
  const mean = isComplete ? errorRatios(models, ALPS, target)?.geometricMean : undefined;
  return {
    requirement: `${ALPS}, ${target}: geometric mean of error / SparseGPT's error on the test models ≤ ${
      limit.toFixed(2)
    }`,
    measured: mean?.toFixed(3) ?? "",
    passed: mean === undefined ? undefined : mean <= limit,
  };
}

function expectedGate(models: readonly ModelResult[], name: string, expected: number): Gate {
  const model = models.find((model) => model.name === name);
  const perplexity = model && findCell(model, ALPS, "50 %")?.perplexity;
  const isMeasured = typeof perplexity === "number";
  return {
    requirement: `${ALPS}, 50 %, ${name}: perplexity within 1 % of ${expected}`,
    measured: isMeasured ? perplexity.toFixed(2) : "",
    passed: isMeasured ? Math.abs(perplexity / expected - 1) <= PERPLEXITY_TOLERANCE : undefined,
  };
}

/** Requires that ALPS gives the model a lower perplexity than SparseGPT at every target. */
function belowSparseGptGate(model: ModelResult): Gate {
  const pairs = TARGETS.map(({ title }) => ({
    title,
    ours: findCell(model, ALPS, title)?.perplexity,
    theirs: findCell(model, BASELINE, title)?.perplexity,
  })).filter((pair): pair is { title: string; ours: number; theirs: number } =>
    typeof pair.ours === "number" && typeof pair.theirs === "number"
  );
  const failed = pairs.filter(({ ours, theirs }) => !(ours < theirs));
  const texts = failed.map(({ title, ours, theirs }) =>
    `${title}: ${ours.toFixed(2)}, SparseGPT ${theirs.toFixed(2)}`
  );
  return {
    requirement: `${ALPS}, ${model.name}: perplexity below SparseGPT's at every target`,
    measured: failed.length > 0 ? texts.join("; ") : `${pairs.length} of ${TARGETS.length} targets`,
    passed: failed.length > 0 ? false : pairs.length === TARGETS.length ? true : undefined,
  };
}

/** Requires that the error of a method is at most SparseGPT's error, on every layer of every model. */
function worstLayerGate(models: readonly ModelResult[], method: string): Gate {
  const all = TARGETS.map(({ title }) => ({ title, ratios: errorRatios(models, method, title) }));
  const measured = all.flatMap(({ title, ratios }) => ratios ? [{ title, ...ratios.worst }] : []);
  const requirement = `${method}: never worse than SparseGPT on any layer of any model`;
  if (measured.length < all.length) return { requirement, measured: "", passed: undefined };
  const worst = measured.reduce((worst, next) => next.ratio > worst.ratio ? next : worst);
  return {
    requirement,
    measured: `worst ${worst.ratio.toFixed(3)} (${worst.layer}, ${worst.title})`,
    passed: worst.ratio <= 1,
  };
}

/**
 * Requires that pruning to 50 % with 4 bits gives no higher perplexity than GPTQ with 3 bits, on every
 * test model.
 * Both kinds of models take about the same space. The SparseGPT paper reports this result for large models.
 */
function jointGate(models: readonly ModelResult[], method: string): Gate {
  const pairs = models.flatMap((model) => {
    const ours = findCell(model, method, "50 % + 4 bit")?.perplexity;
    const gptq = findCell(model, GPTQ, "3 bit")?.perplexity;
    return typeof ours === "number" && typeof gptq === "number" ? [{ name: model.name, ours, gptq }] : [];
  });
  const texts = pairs.map(({ name, ours, gptq }) => `${name}: ${ours.toFixed(2)}, GPTQ ${gptq.toFixed(2)}`);
  return {
    requirement: `${method}, 50 % + 4 bit: perplexity no worse than GPTQ's at 3 bit on the test models`,
    measured: texts.join("; "),
    passed: pairs.length === 0 || pairs.length < models.length
      ? undefined
      : pairs.every(({ ours, gptq }) => ours <= gptq),
  };
}
