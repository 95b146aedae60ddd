/**
 * Chooses the sparsity of each layer by the errors that the solver makes at several sparsities, called levels, with the statistics of the
 * dense model. If windows are held out, these are the errors on them. The server factors the Hessian of a group of layers only once, so most
 * of the time goes into solving.
 */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import { DEFAULT_METHOD, METHODS } from "../../protocol/methods.ts";
import { ResourceSet } from "../../device/owned.ts";
import { LocalStates } from "../local_states.ts";
import { groupsOf } from "../open_block.ts";
import type { AllocationTask, WantedSparsities } from "./allocation.ts";
import { chooseLevels } from "./choose_levels.ts";

/** The number of levels below the sparsity of the run, and of those above it. */
const REACH = 2;

/**
 * The largest distance between neighbouring levels, so the sparsity of a layer differs by at most 0.05 from the sparsity of the run. A wider range
 * makes the perplexity of all three test models at 70 % worse, because the sum of the errors of the layers is a poor measure of the error
 * of the model.
 */
const LARGEST_STEP = 0.025;

/**
 * Returns the sparsities with the smallest sum of relative errors, each multiplied by the number of weights of its layer. Errors are
 * relative because the outputs of different layers have different scales.
 * @throws the errors of `LocalStates.begin` and of `RoundSolver.solveRound`
 */
export async function allocateByError(task: AllocationTask): Promise<WantedSparsities> {
  const { layers, sparsity, validationWindows = [] } = task;
  const step = Math.min(LARGEST_STEP, sparsity / REACH, (1 - sparsity) / (REACH + 1));
  const levels = Array.from({ length: 2 * REACH + 1 }, (_, i) => i - REACH);
  const errors = await measureErrors(task, new Map(levels.map((level) => [level, sparsity + level * step])));
  const leveled = layers.map(({ name, rows, cols }) => {
    const measured = levels.map((level) => errors.get(levelName(name, level)) ?? null);
    // A layer whose error is not reported keeps the sparsity of the run.
    const isMeasured = measured.every((error) => error !== null);
    const errorAt = (level: number) => isMeasured ? measured[level + REACH]! : level === 0 ? 0 : Infinity;
    return { size: rows * cols, errors: levels.map((level) => rows * cols * errorAt(level)) };
  });
  const chosen = chooseLevels(leveled);
  const sumAt = (levelOf: (layer: number) => number) =>
    leveled.reduce((sum, { errors }, i) => sum + errors[levelOf(i) + REACH], 0);
  const entries = leveled.reduce((sum, { size }) => sum + size, 0);
  const before = sumAt(() => 0) / entries, after = sumAt((i) => chosen[i]) / entries;
  return {
    sparsities: chosen.map((level) => sparsity + level * step),
    notes: [
      `The mean relative error of a layer, weighted by the sizes of the layers, is ${
        after.toPrecision(4)
      }, instead of ${
        before.toPrecision(4)
      } with one sparsity for all layers. Both errors were measured with the statistics of the dense model${
        validationWindows.length > 0 ? " on held-out windows" : ""
      }.`,
    ],
  };
}

/**
 * Returns the relative errors of every layer at every level, by `levelName`. They are those on the held-out windows, unless no token of these
 * reached the layer. An error is null if the solver does not report it.
 * @param sparsities maps each level to its sparsity
 */
async function measureErrors(
  task: AllocationTask,
  sparsities: ReadonlyMap<number, number>,
): Promise<Map<string, number | null>> {
  const { model, layers, queryOf, backend, pruner, progress, signal } = task;
  const queries = new Map<string, LayerQuery>(
    layers.flatMap(({ name }) =>
      [...sparsities].map((
        [level, sparsity],
      ) => [levelName(name, level), levelQuery(queryOf(name), sparsity)])
    ),
  );
  const names = new Set(layers.map(({ name }) => name)), levels = [...sparsities.keys()];
  const errors = new Map<string, number | null>();
  using scratch = new ResourceSet();
  const states = scratch.add(
    await LocalStates.begin(backend, model, { ...task, layers: names, progress: undefined }),
  );
  for (const block of states.blocks) {
    const open = await states.open(block);
    for (const groups of states.plan.rounds(block)) {
      using scratch = new ResourceSet();
      const collected = scratch.add(
        await states.collect(open, { groups, hasTargets: false, advancesDense: false }),
      );
      // All levels of a layer share the Hessian, which is factored once.
      const leveled = groupsOf(
        open,
        groups,
        collected,
        ({ name, weight }) => levels.map((level) => ({ name: levelName(name, level), weight })),
      );
      for await (
        const { layer, report } of pruner.solveRound(leveled, ({ name }) => queries.get(name)!, { signal })
      ) {
        const { validation_error = report.relative_error } = report;
        errors.set(layer.name, validation_error);
        progress?.(errors.size, queries.size);
      }
    }
    await states.advance(open, false);
  }
  return errors;
}

/** Returns the name of `layer` at level `level`, by which its request and its error are found. */
function levelName(layer: string, level: number): string {
  return `${layer}@${level}`;
}

/**
 * Returns the parameters for solving a layer at one level. The slower methods are replaced by the default method, because they take many
 * times as long and their errors grow with the sparsity in nearly the same way. For the same reason, `auto` becomes the default damping.
 */
function levelQuery({ method, blocksize, damping }: LayerQuery, sparsity: number): LayerQuery {
  const isCheap = method && METHODS[method].keepsWeights;
  return {
    method: isCheap ? method : DEFAULT_METHOD,
    sparsity,
    blocksize,
    damping: damping === "auto" ? undefined : damping,
    error: true,
  };
}
