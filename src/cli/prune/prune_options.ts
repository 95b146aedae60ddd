/** The options of `pare prune`. */

import { Command, Option } from "commander";
import { PACK_FORMATS, type PackFormat } from "../../checkpoint/packed/format.ts";
import type { HiddenStatesLocation } from "../../models/hidden_states/hidden_states.ts";
import { addChoiceOptions, type ChoiceOptions } from "./choice_options.ts";
import {
  addBackendOption,
  addCommonOptions,
  addHostPoolOptions,
  type CommonOptions,
  type ConnectOptions,
} from "../options/common_options.ts";
import { addLayerOptions, type LayerOptions } from "../options/layer_options.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { fitsTwoOfFour, parsePattern } from "../../sparsity/pattern.ts";
import { UsageError } from "../exit.ts";
import { MODEL_ARGUMENT } from "../files/model_folder.ts";
import { integer } from "../options/numbers.ts";
import type { ServersOptions } from "./remote_pruner.ts";
import { addSeqlenOption } from "../options/seqlen_option.ts";

/** The published code's number of calibration windows. */
const DEFAULT_SAMPLES = 128;

const HIDDEN_STATES_LOCATIONS: readonly HiddenStatesLocation[] = ["auto", "memory", "disk"];

/** The options as commander leaves them. */
export interface PruneOptions
  extends CommonOptions, Pick<ConnectOptions, "backend">, ServersOptions, LayerOptions, ChoiceOptions {
  readonly out: string;
  readonly calibration: string;
  readonly samples: number;
  readonly seqlen?: number;
  readonly seed?: number;
  readonly trueSequential?: boolean;
  readonly activations: HiddenStatesLocation;
  readonly text: readonly string[];
  readonly windows?: number;
  readonly format: "dense" | PackFormat;
  readonly overwrite?: boolean;
  readonly restart?: boolean;
}

/**
 * Refuses, before any work, a format that cannot hold what the layers will be.
 * @throws {UsageError} a layer's pattern leaves more than two entries in four, for sparse-24: names it
 */
export function checkFormat(
  format: PruneOptions["format"],
  names: Iterable<string>,
  queryOf: (name: string) => LayerQuery,
): void {
  if (format !== "sparse-24") return;
  for (const name of names) {
    const { pattern = "unstructured" } = queryOf(name);
    if (fitsTwoOfFour(parsePattern(pattern))) continue;
    throw new UsageError(
      `option --format sparse-24: holds at most two entries in four, and ${name} is to be ${pattern}; ` +
        "prune with --pattern 2:4, or write --format bitmask",
    );
  }
}

/** @throws {UsageError} `--jobs` without exactly one server */
export function checkServers({ server, jobs }: ServersOptions): void {
  if (!jobs || server.length === 1) return;
  throw new UsageError(`option --jobs: needs one --server, an edge; got ${server.length}`);
}

/** The command, without what it does. */
export function declarePrune(): Command {
  const command = new Command("prune")
    .description("prune the linear layers of a model's blocks and write the pruned checkpoint")
    .argument("<model>", MODEL_ARGUMENT)
    .requiredOption("--out <folder>", "where to write the pruned checkpoint")
    .requiredOption("--calibration <file>", "text to calibrate on: .txt, or .jsonl with a document a line")
    .option("--samples <n>", "calibration windows", integer(1), DEFAULT_SAMPLES)
    .option(
      "--seed <n>",
      "draw the windows at random from this seed (default: evenly spaced)",
      integer(0, 2 ** 32 - 1),
    )
    .option("--true-sequential", "calibrate the layers of a block behind the pruned ones before them in it")
    .addOption(
      new Option("--activations <place>", "where hidden states are between blocks; auto is disk past 4 GiB")
        .choices(HIDDEN_STATES_LOCATIONS)
        .default("auto"),
    )
    .option(
      "--text <file>",
      "a text to report the perplexity on, before and after; repeatable",
      (file: string, earlier: readonly string[]) => [...earlier, file],
      [],
    )
    .option(
      "--windows <n>",
      "only the first n windows of each --text (default: all that are whole)",
      integer(1),
    )
    .addOption(
      new Option("--format <format>", "dense, or one of the layouts of pare pack")
        .choices(["dense", ...PACK_FORMATS])
        .default("dense"),
    )
    .option("--overwrite", "replace a checkpoint already there")
    .option("--restart", "forget what an unfinished run has left there");
  addSeqlenOption(command, 1);
  addChoiceOptions(command);
  return addCommonOptions(addBackendOption(addHostPoolOptions(addLayerOptions(command))));
}
