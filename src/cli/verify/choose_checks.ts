/** Chooses what `pare verify` checks: for each layer a pattern, and the number of zeros that its report gives. */

import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import type { GroupPattern, ScanPattern } from "../../model/checkpoint/inspect/tensor_scan.ts";
import { openDense } from "../../model/formats/checkpoint/dense_checkpoint.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { readModelSpec } from "../../model/families/families.ts";
import { linearLayers } from "../../prune/block_plan.ts";
import { compileNamePattern } from "../../prune/choose_layers.ts";
import type { LayerRun, RunReport } from "../../prune/report/run_report.ts";
import { formatPattern, parsePattern } from "../../tensor/pattern.ts";
import { messageOf } from "../../base/errors.ts";
import { isFloatDtype } from "../../tensor/dtype.ts";
import { UsageError } from "../errors.ts";

export interface LayerCheck {
  /** The text of the pattern. Absent if the layer may have any pattern. */
  readonly pattern?: string;
  readonly scan?: ScanPattern;
  /** The number of zeros that the report gives. The layer may have more, because rounding can add some. */
  readonly zeros?: number;
}

/** The choices of the user. */
export interface CheckOptions {
  /** The pattern of all layers. Defaults to the patterns in the report. */
  readonly pattern?: GroupPattern;
  /** The patterns of the names of the layers. Defaults to the layers in the report. */
  readonly layers?: readonly string[];
}

/** A matrix of the checkpoint in its dense form. */
interface Matrix {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Names of tensors in numbered blocks, such as `model.layers.3.mlp.up_proj.weight`. Embeddings and output heads have no number. */
const IN_NUMBERED_BLOCK = /\.\d+\./;

/**
 * Returns the checks by the names of the weights.
 * @param report the report of `pare prune`, if the folder has one
 * @throws {UsageError} if an option matches no layer
 */
export async function chooseChecks(
  checkpoint: Checkpoint,
  report: RunReport | undefined,
  options: CheckOptions,
): Promise<Map<string, LayerCheck>> {
  const matrices = await listMatrices(checkpoint),
    layers = new Map(report?.layers.map((layer) => [layer.name, layer]));
  for (const name of layers.keys()) {
    if (!matrices.some((matrix) => matrix.name === name)) checkpoint.locate(name); // throws with the nearest name
  }
  const transposed = transposedWeights(checkpoint, matrices);
  const chosen = chooseMatrices(matrices, layers, options);
  return new Map(chosen.map(({ name }) => {
    const inputAxis = transposed.has(name) ? 0 : 1;
    return [name, layerCheck(inputAxis, layers.get(name), options)];
  }));
}

/** Lists the float matrices of the dense form. */
async function listMatrices(checkpoint: Checkpoint): Promise<Matrix[]> {
  const { shards } = await openDense(checkpoint);
  return shards.flatMap(({ header }) => header.tensors).filter(({ dtype, shape }) =>
    shape.length === 2 && isFloatDtype(dtype)
  );
}

function chooseMatrices(
  matrices: readonly Matrix[],
  layers: ReadonlyMap<string, LayerRun>,
  { layers: patterns, pattern }: CheckOptions,
): readonly Matrix[] {
  if (patterns) return patterns.flatMap((text) => matchMatrices(matrices, text));
  if (layers.size > 0) return matrices.filter(({ name }) => layers.has(name));
  return pattern ? matrices.filter(({ name }) => IN_NUMBERED_BLOCK.test(name)) : [];
}

function matchMatrices(matrices: readonly Matrix[], text: string): Matrix[] {
  const matches = compilePattern(text);
  const found = matrices.filter(({ name }) => matches(name));
  if (found.length > 0) return found;
  throw new UsageError(`option --layers ${text}: matches no matrix; an example is ${matrices[0]?.name}`);
}

function compilePattern(text: string): (name: string) => boolean {
  try {
    return compileNamePattern(text);
  } catch (error) {
    throw new UsageError(`option --layers ${text}: ${messageOf(error)}`, { cause: error });
  }
}

function layerCheck(
  inputAxis: ScanPattern["inputAxis"],
  layer: LayerRun | undefined,
  options: CheckOptions,
): LayerCheck {
  const wanted = options.pattern ?? (layer && parsePattern(layer.pattern));
  const zeros = layer?.zeros;
  if (wanted?.kind !== "n:m") return { zeros };
  return { zeros, pattern: formatPattern(wanted), scan: { pattern: wanted, inputAxis } };
}

/** Returns the weights that are stored transposed, (in, out), as in GPT-2. Models of unknown families are taken to have none. */
function transposedWeights({ config }: Checkpoint, matrices: readonly Matrix[]): Set<string> {
  const names = new Set(matrices.map(({ name }) => name));
  try {
    const layers = linearLayers(readModelSpec(config, (name) => names.has(name)));
    return new Set(layers.filter(({ linear }) => linear.isTransposed).map(({ name }) => name));
  } catch (error) {
    if (error instanceof ModelError) return new Set();
    throw error;
  }
}
