/** Solves layers at servers. Their statistics and targets are read back from the device first. */

import type { ModelPruner } from "../client/model_pruner.ts";
import { withStatisticsInHostMemory } from "./host_statistics.ts";
import type { RoundSolver } from "./steps.ts";

/** Returns a solver that sends the layers by `client`. */
export function serverPruner(client: Pick<ModelPruner, "solveRound">): RoundSolver {
  return {
    solveRound: (groups, ...options) => client.solveRound(withStatisticsInHostMemory(groups), ...options),
  };
}
