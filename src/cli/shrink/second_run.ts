/**
 * The second run of `pare shrink`, which prunes or rounds the smaller model. It is a run of `pare prune` with the
 * options that both commands have.
 */

import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import type { ShrinkReport } from "../../prune/shrink/shrink_report.ts";
import { UsageError } from "../errors.ts";
import { denoFileSystem as fs } from "../files/deno_file_system.ts";
import { optionConflicts, SHRINK_OPTIONS } from "../../protocol/run/run_options.ts";
import type { LayerFlags } from "../options/layer_options.ts";
import type { HostPoolFlags } from "../options/server_options.ts";
import { applyNames, type NamedOptions } from "../prune/named_options.ts";
import { declarePrune, type PruneOptions } from "../prune/prune_options.ts";

/** The folder of the smaller model inside the output folder, until the second run ends. */
export const SMALLER_FOLDER = ".pare-shrunk";

/**
 * Checks that no command waits for its second run in the folder `out`. Another run there would leave the smaller model behind, and the
 * command could not continue.
 * @throws {UsageError} naming the folder
 */
export async function requireNoSmallerModel(out: string): Promise<void> {
  if (await fs.list(`${out}/${SMALLER_FOLDER}`) === undefined) return;
  throw new UsageError(
    `option --out ${out}: has an unfinished run of pare shrink in ${SMALLER_FOLDER}; repeat its command first, ` +
      "remove this folder, or choose another folder",
  );
}

/** The run of `pare shrink` that has made the model of the second run. */
export interface FirstRun {
  readonly report: ShrinkReport;
  /** The larger model. */
  readonly dense: Checkpoint;
}

/** The options of `pare shrink` that ask for a second run. */
export type SecondRunFlags =
  & Pick<LayerFlags, "sparsity" | "pattern" | "bits">
  & Pick<NamedOptions, "for" | (typeof SHRINK_OPTIONS)[number]>
  & Pick<HostPoolFlags, "server" | "apiKey" | "jobs">;

/** The options of both runs, without the options of servers. Each becomes one or more words of the second command. */
const SHARED = [
  ...["out", "calibration", "text", "sparsity", "pattern", "bits", "for"],
  ...["backend", "webgpu", "products", "precision", "json", "debug"],
  ...SHRINK_OPTIONS,
];

/**
 * Returns the options of the second run, or undefined if `options` ask for none.
 * @throws {UsageError} if options contradict each other
 */
export function secondRun<Options extends SecondRunFlags>(options: Options): PruneOptions | undefined {
  const { sparsity, pattern, bits, for: runtime } = options;
  if ([sparsity, pattern, bits, runtime].every((value) => value === undefined)) return undefined;
  const isPruned = pattern !== undefined || Number(sparsity ?? 0) !== 0;
  const layers = {
    queries: [{ sparsity: isPruned ? undefined : 0 }],
    target: options.target,
    hasExperts: false,
  };
  const refused = optionConflicts(options, layers).flatMap(({ names }) => names);
  const given: Readonly<Record<string, unknown>> = {
    ...options,
    // Without zeros and targets nothing changes before the rounding, so only the first run trains the blocks.
    ...Object.fromEntries(refused.map((name) => [name, undefined])),
  };
  const words = SHARED.flatMap((name) => {
    const value = given[name];
    if (value === undefined || value === false) return [];
    return value === true ? [`--${name}`] : [value].flat().flatMap((item) => [`--${name}`, String(item)]);
  });
  const command = declarePrune().parse(["the smaller model", ...words], { from: "user" });
  const { server, apiKey, jobs } = options;
  return { ...applyNames(command.opts<PruneOptions>(), command), server, apiKey, jobs };
}
