/**
 * The gates of the solvers bench. A gate is a requirement on the measured figures that is printed as passed
 * or failed. The figures are not changed if a gate fails.
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

/** The largest geometric mean of the errors of ALPS over SparseGPT's, on all layers of the test models together. */
const LARGEST_MEANS: Readonly<Record<string, number>> = { "50 %": 0.50, "70 %": 0.52, "2:4": 0.60 };

/** The perplexities at 50 % on the test models, measured with a prototype of ALPS before it was built here. */
const EXPECTED_PERPLEXITIES: Readonly<Record<string, number>> = {
  "opt-sotu": 47.8,
  "llama-sotu": 43.9,
  "bloom-sotu": 42.8,
};

/** The largest relative difference from an expected perplexity. */
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
    requirement: `${ALPS}, ${target}: geometric mean over SparseGPT on the test models ≤ ${limit.toFixed(2)}`,
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

/** Requires that the perplexity of ALPS is below SparseGPT's at every target. */
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

/** Requires that a method is never worse than SparseGPT on any layer of any model. */
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
 * Requires that 50 % with 4 bits is no worse than GPTQ with 3 bits on every model, as published for SparseGPT
 * on large models. Both take about the same space.
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
