/** Declares the options of `pare prune`, and checks the options that depend on each other. */

import { Command, Option } from "commander";
import { PACK_FORMATS, type PackFormat, SPARSE_READERS } from "../../checkpoint/packed/format.ts";
import { PACK_QUANTIZED } from "../../checkpoint/quantized/config.ts";
import { requireStorable } from "../../checkpoint/quantized/layout.ts";
import type { LinearSpec } from "../../models/layer_specs.ts";
import type { HiddenStatesLocation } from "../../models/hidden_states/hidden_states.ts";
import {
  addBackendOption,
  addCalibrationOption,
  addCommonOptions,
  addSamplesOption,
  addSeqlenOption,
  appendValue,
  type BackendFlags,
  type CommonOptions,
  integer,
} from "../options/common_options.ts";
import { addExample } from "../options/help.ts";
import { addHostPoolOptions, type HostPoolFlags } from "../options/server_options.ts";
import { addChoiceOptions, type ChoiceFlags } from "./choice_options.ts";
import { addLayerOptions, type LayerFlags } from "../options/layer_options.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { SizedLayer } from "../../prune/block_plan.ts";
import { gridOfQuery } from "../../prune/quantized_model.ts";
import { fitsTwoOfFour, parsePattern } from "../../sparsity/pattern.ts";
import type { GridOptions } from "../../quantization/quantization.ts";
import { checkObcSize, ObcSizeError } from "../../solvers/obc/obc_limit.ts";
import { UsageError } from "../errors.ts";
import { MODEL_ARGUMENT } from "../files/model_folder.ts";

const HIDDEN_STATES_LOCATIONS: readonly HiddenStatesLocation[] = ["auto", "memory", "disk"];

/** The options as commander parses them. */
export interface PruneOptions extends CommonOptions, BackendFlags, HostPoolFlags, LayerFlags, ChoiceFlags {
  readonly out: string;
  readonly calibration: string;
  readonly samples: number;
  readonly seqlen?: number;
  readonly seed?: number;
  readonly trueSequential?: boolean;
  readonly activations: HiddenStatesLocation;
  readonly text: readonly string[];
  readonly windows?: number;
  readonly format: "dense" | PackFormat | typeof PACK_QUANTIZED;
  readonly overwrite?: boolean;
  readonly restart?: boolean;
}

/**
 * Checks, before any work, that the output format can store the pruned layers.
 * @throws {UsageError} if the format is sparse-24 and a layer may keep more than two of every four weights, or
 * if the format is pack-quantized and a layer is not rounded to a grid that the format can store, or several
 * layers have different kinds of asymmetric grids, or a layer belongs to an expert, or if the format is one of
 * these two and the checkpoint stores a layer transposed; the message names the layer
 */
export function checkFormat(
  format: PruneOptions["format"],
  layers: readonly SizedLayer[],
  queryOf: (name: string) => LayerQuery,
): void {
  let first: GriddedLayer | undefined;
  for (const { name, linear, cols } of layers) {
    if (format !== "dense" && format !== "bitmask") requireNotTransposed(format, name, linear);
    if (format === "sparse-24") checkTwoOfFour(name, queryOf(name));
    if (format !== PACK_QUANTIZED) continue;
    requireNoExpert(name, linear);
    const grid = checkGrid(name, queryOf(name), cols);
    first ??= { name, grid };
    checkKinds(first, { name, grid });
  }
}

/** Both formats store groups of neighbouring inputs, which are not neighbours in a transposed weight. */
function requireNotTransposed(format: string, name: string, { isTransposed }: LinearSpec): void {
  if (!isTransposed) return;
  throw new UsageError(
    `option --format ${format}: the checkpoint stores ${name} transposed (Conv1D), which the format does not ` +
      "support; use --format dense or --format bitmask",
  );
}

/** transformers 5 has one tensor for all experts of a block, and does not load experts in this layout (measured with version 5.24). */
function requireNoExpert(name: string, { expertRole }: LinearSpec): void {
  if (expertRole === undefined) return;
  throw new UsageError(
    `option --format ${PACK_QUANTIZED}: ${name} belongs to an expert, and transformers does not load experts in ` +
      "this layout; use --format dense",
  );
}

function checkTwoOfFour(name: string, { pattern = "unstructured" }: LayerQuery): void {
  if (fitsTwoOfFour(parsePattern(pattern))) return;
  throw new UsageError(
    `option --format sparse-24: stores at most two of every four weights, but ${name} is pruned ${pattern}; ` +
      "prune with --pattern 2:4, or use --format bitmask",
  );
}

/**
 * Checks, before any work, that no layer is too large for the method `obc`.
 * @param option the option that chooses the method
 * @throws {UsageError} naming the option, the layer and the limit
 */
export function checkObcSizes(
  layers: readonly SizedLayer[],
  queryOf: (name: string) => LayerQuery,
  option = "--method obc",
): void {
  for (const { name, rows, cols } of layers) {
    if (queryOf(name).method !== "obc") continue;
    try {
      checkObcSize(rows, cols);
    } catch (error) {
      if (!(error instanceof ObcSizeError)) throw error;
      throw new UsageError(`option ${option}: ${name}: ${error.message}`, { cause: error });
    }
  }
}

/** A layer and its grid. */
interface GriddedLayer {
  readonly name: string;
  readonly grid: GridOptions;
}

/**
 * Checks that two kinds of grids are symmetric. transformers loads asymmetric grids only with `dequantize=True`. It then
 * computes all layers as if they had the first kind of grid, without an error (measured with version 5.24).
 */
function checkKinds(first: GriddedLayer, other: GriddedLayer): void {
  const isSame = describeGrid(first.grid) === describeGrid(other.grid);
  if (isSame || (first.grid.symmetric && other.grid.symmetric)) return;
  throw new UsageError(
    `option --format ${PACK_QUANTIZED}: several kinds of grids must be symmetric, because transformers loads ` +
      `asymmetric ones wrongly, but ${first.name} has ${describeGrid(first.grid)} and ${other.name} has ` +
      `${describeGrid(other.grid)}; add --symmetric, or give all layers the same kind`,
  );
}

function describeGrid({ bits, groupSize, symmetric }: GridOptions): string {
  return `${bits} bits ${groupSize === 0 ? "per row" : `in groups of ${groupSize}`}, ${
    symmetric ? "symmetric" : "asymmetric"
  }`;
}

/** Returns the grid of a layer. @throws {UsageError} if pack-quantized cannot store it */
function checkGrid(name: string, query: LayerQuery, cols: number): GridOptions {
  const grid = gridOfQuery(query);
  if (!grid) {
    throw new UsageError(
      `option --format ${PACK_QUANTIZED}: stores codes of 4 or 8 bits, but ${name} is not quantised; ` +
        "prune with --bits 4 or --bits 8, or use --format dense",
    );
  }
  try {
    requireStorable({ ...grid, cols });
    return grid;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UsageError(`option --format ${PACK_QUANTIZED}: ${name}: ${error.message}`, { cause: error });
  }
}

/**
 * The method of `pare prune`. ALPS leaves about half of SparseGPT's error, and pruned every test model to a lower perplexity at every
 * sparsity. At the published calibration size, 128 windows of 2048 tokens, a whole run takes 11 % longer than with SparseGPT, because the
 * statistics take most of the time (`scripts/bench/README.md`). Requests for one layer have no statistics to compute, so `sparsegpt` is the
 * default there.
 */
const DEFAULT_METHOD = "alps";

/** Returns the command and its options, without the action. */
export function declarePrune(): Command {
  const command = new Command("prune")
    .description("prune the linear layers of a model's blocks and write the pruned checkpoint")
    .argument("<model>", MODEL_ARGUMENT)
    .requiredOption("--out <folder>", "where to write the pruned checkpoint");
  addSamplesOption(addCalibrationOption(command))
    .option(
      "--seed <n>",
      "choose the calibration windows at random with this seed (default: evenly spaced)",
      integer(0, 2 ** 32 - 1),
    )
    .option(
      "--true-sequential",
      "calibrate each group of layers that share an input after the earlier groups of its block are pruned",
    )
    .addOption(
      new Option(
        "--activations <place>",
        "where the hidden states between blocks are stored; auto uses the disk if they take more than 4 GiB",
      )
        .choices(HIDDEN_STATES_LOCATIONS)
        .default("auto"),
    )
    .option(
      "--text <file>",
      "a text to measure the perplexity on, before and after pruning; may be repeated",
      appendValue,
      [],
    )
    .option(
      "--windows <n>",
      "measure only the first n windows of each --text (default: all complete windows)",
      integer(1),
    )
    .addOption(
      new Option(
        "--format <format>",
        `dense, which every program reads; ${PACK_QUANTIZED}, which transformers reads and which needs --bits 4 or 8; ` +
          `or a format of pare pack: ${SPARSE_READERS}`,
      )
        .choices(["dense", ...PACK_FORMATS, PACK_QUANTIZED])
        .default("dense"),
    )
    .option("--overwrite", "replace a checkpoint in the output folder")
    .option("--restart", "discard the unfinished run in the output folder and start over");
  addSeqlenOption(command, 1);
  addChoiceOptions(command);
  addExample(
    command,
    "prune hf:facebook/opt-125m --out pruned --calibration c4.txt --sparsity 0.5 --text wikitext.txt",
    "prune ./llama --out pruned --calibration c4.jsonl --pattern 2:4 --server http://gpu-1:8000",
  );
  return addCommonOptions(addBackendOption(addHostPoolOptions(addLayerOptions(command, DEFAULT_METHOD))));
}
