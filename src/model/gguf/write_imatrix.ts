/**
 * Writes the importance matrix of a model, by which `llama-quantize --imatrix` weighs the errors of weights. For each
 * linear layer, the matrix has the sums of the squares of the layer's inputs over the tokens of a text. The format is
 * defined by `tools/imatrix/imatrix.cpp` in github.com/ggml-org/llama.cpp.
 */

import type { FileSystem } from "../../base/files/file_system.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { firstTrait } from "../families/family.ts";
import type { LinearGroup } from "../layer_specs.ts";
import type { ModelFolder } from "../model.ts";
import { findArchitecture, placeOf } from "./architecture.ts";
import { text, u32 } from "./container.ts";
import { constantVector, type PlannedTensor } from "./planned_tensor.ts";
import { columnOf, rowParts } from "./row_order.ts";
import { writeTensors } from "./write_gguf.ts";

/** The sums of the squares of the inputs, (inFeatures) f32, of each group of layers in a block. */
export type BlockSquares = ReadonlyMap<LinearGroup, Float32Array>;

export interface ImatrixOptions {
  /** The sums of the blocks, from the first to the last. */
  readonly squares: AsyncIterable<BlockSquares>;
  /** The names of the texts. */
  readonly texts: readonly string[];
  /** The number of windows over which the sums were taken. */
  readonly windows: number;
  readonly windowTokens: number;
}

/** Checks that {@link writeImatrix} supports the model. @throws {ModelError} if the model has experts */
export function checkImatrixModel({ checkpoint, model }: Pick<ModelFolder, "checkpoint" | "model">): void {
  if (!firstTrait(model.spec, "mixture")) return;
  throw new ModelError(
    `${checkpoint.folder}: no importance matrix can be written for a mixture of experts`,
  );
}

/**
 * Writes the importance matrix to the file `path`. If it fails, an existing file is unchanged.
 * @throws {ModelError} if llama.cpp has no architecture for the model, if the model has experts, or if a sum is not
 * finite
 */
export async function writeImatrix(
  opened: Pick<ModelFolder, "checkpoint" | "model">,
  path: string,
  fs: FileSystem,
  { squares, texts, windows, windowTokens }: ImatrixOptions,
): Promise<void> {
  checkImatrixModel(opened);
  const { checkpoint, model } = opened, architecture = findArchitecture(checkpoint.config);
  const tensors: PlannedTensor[] = [];
  let block = 0;
  for await (const groups of squares) {
    const traits = model.spec.block(block).traits!;
    for (const [group, sums] of groups) {
      for (const layer of group) {
        const parts = rowParts(
          layer,
          architecture,
          traits,
          (role) => placeOf(architecture, checkpoint.folder, role),
        );
        for (const { place: name, columns } of parts) {
          const place = `blk.${block}.${name}.weight`;
          const inOrder = columns ? sums.map((_, column) => sums[columnOf(columns, column)]) : sums;
          tensors.push(constantVector(`${place}.in_sum2`, inOrder));
          tensors.push(constantVector(`${place}.counts`, Float32Array.of(windows * windowTokens)));
        }
      }
    }
    block++;
  }
  const metadata = [
    ["general.type", text("imatrix")],
    ["imatrix.datasets", { type: "text", value: texts }],
    ["imatrix.chunk_count", u32(windows)],
    ["imatrix.chunk_size", u32(windowTokens)],
  ] as const;
  await writeTensors(fs, path, { metadata, tensors, checkpoint });
}
