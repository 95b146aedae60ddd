/** Decides whether the layers of a block keep their targets, if the hosts have solved each layer with its target and without it. */

import type { SolvedBlock, SolvedBlockLayer } from "../../client/blocks/solved_block.ts";
import type { Solutions } from "../../prune/open_round.ts";
import { layerAndSolutionOf } from "../../prune/server_pruner.ts";
import { compareSolutions, withErrors } from "../../prune/target_guard.ts";

/**
 * Returns the layers of the better solution.
 * @param solved the layers of all shares. Those of the solution without targets have the names of `WITHOUT_TARGET`
 * @param measure returns the error of a solution on the held-out windows
 */
export async function decideTargets(
  solved: readonly SolvedBlockLayer[],
  measure: (layers: readonly SolvedBlockLayer[]) => Promise<number>,
): Promise<Pick<SolvedBlock, "layers" | "decision">> {
  const solutions: Record<keyof Solutions, SolvedBlockLayer[]> = { withTargets: [], without: [] };
  for (const layer of solved) {
    const { name, which } = layerAndSolutionOf(layer.name);
    solutions[which].push({ ...layer, name });
  }
  const { withTargets, without } = solutions;
  if (without.length === 0) return { layers: withTargets };
  const decision = await compareSolutions((which) => measure(solutions[which]));
  if (decision.areKept) return { layers: withTargets, decision };
  const first = new Map(withTargets.map(({ name, report }) => [name, report]));
  const layers = without.map((layer) => {
    const report = first.get(layer.name);
    return report ? { ...layer, report: withErrors(layer.report, report) } : layer;
  });
  return { layers, decision };
}
