/** Checks, before any work, that `--remote` fits the other options. */

import { UsageError } from "../errors.ts";
import type { PruneOptions } from "./prune_options.ts";

/** @param servers the URLs of `--server` @throws {UsageError} naming the option and the rule */
export function checkRemote(
  { remote, plan, allocate, activations, expertsAtOnce, allExperts, target, reconstruct }: Pick<
    PruneOptions,
    | "remote"
    | "plan"
    | "allocate"
    | "activations"
    | "expertsAtOnce"
    | "allExperts"
    | "target"
    | "reconstruct"
  >,
  servers: readonly string[],
): void {
  if (!remote) return;
  const rule = servers.length === 0
    ? "needs a --server, got none"
    : servers.length > 1 && (target !== "none" || reconstruct > 0)
    ? `does not divide --target and --reconstruct over several hosts, got ${servers.length}`
    : plan
    ? "does not work with --plan, which measures this machine"
    : allocate !== "uniform"
    ? `does not work with --allocate ${allocate}, which runs the model on this machine`
    : activations !== "auto"
    ? `keeps the hidden states at the host, so it does not work with --activations ${activations}`
    : expertsAtOnce !== undefined || allExperts
    ? "sends whole blocks, so it does not work with --experts-at-once and --all-experts"
    : undefined;
  if (rule !== undefined) throw new UsageError(`option --remote: ${rule}`);
}
