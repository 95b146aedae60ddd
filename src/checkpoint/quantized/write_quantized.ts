/**
 * Writes a checkpoint in the layout `pack-quantized` from a dense copy of the model and from the packed tensors of the quantised
 * weights. All other tensors are copied bit for bit, and so are all files except config.json and those that the caller rewrites.
 * The packed tensors of only one weight are in memory at a time.
 */

import { ModelError } from "../../files/model_error.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { isFloatDtype } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { GridOptions } from "../../quantization/quantization.ts";
import { sameShape } from "../../tensor/shape.ts";
import { type Checkpoint, countWeightFileBytes } from "../checkpoint.ts";
import { FolderWriter, writeFolder } from "../packed/folder_writer.ts";
import { copiedEntry, type RewriteOptions, type ShardEntry, writeShards } from "../packed/rewrite_shards.ts";
import { makeQuantizedConfig, QUANTIZATION_KEY } from "./config.ts";
import { type QuantizedShape, quantizedSpecs, requireStorable, stemOf } from "./layout.ts";

/** The result of writing a quantised checkpoint. */
export interface PackResult {
  /** The names of the quantised weights. */
  readonly packed: readonly string[];
  /** The bytes of the weight files before and after, headers included. */
  readonly bytes: { readonly dense: number; readonly written: number };
}

/** A weight to write in the layout. */
export interface QuantizedWeightSource {
  readonly grid: GridOptions;
  /** The name of the layer's module in the network, such as `model.decoder.layers.0.fc1`. */
  readonly module: string;
  /** Reads the packed tensors. The keys are the names of the tensors in the checkpoint. */
  read(): Promise<ReadonlyMap<string, HostTensor>>;
}

/** Options of {@link writeQuantized}. */
export interface WriteQuantizedOptions extends RewriteOptions {
  /** The quantised weights by name. There is at least one. */
  readonly weights: ReadonlyMap<string, QuantizedWeightSource>;
  /** The modules of the linear layers that are not quantised. */
  readonly ignore: readonly string[];
  /**
   * Whether the output folder may already contain files. A checkpoint in the folder is replaced.
   * @default false
   */
  readonly overwrite?: boolean;
  /** Returns the texts of files by file name. These files are not copied from the checkpoint but written with these texts. */
  rewriteFiles?(result: PackResult): ReadonlyMap<string, string> | Promise<ReadonlyMap<string, string>>;
}

/**
 * Writes the quantised checkpoint to `folder`. If writing fails, no files remain.
 *
 * @param source the dense copy, which contains every weight that `options.weights` names
 * @throws {ModelError} if the folder cannot be used (see {@link FolderWriter.open}), if `source` is already quantised or packed, if
 * the layout cannot store a weight, or if the packed tensors of a weight do not have the names, dtypes and shapes of the layout
 */
export async function writeQuantized(
  source: Checkpoint,
  folder: string,
  fs: WorkFileSystem,
  options: WriteQuantizedOptions,
): Promise<PackResult> {
  const { weights, ignore, overwrite = false } = options;
  if (source.config[QUANTIZATION_KEY]) {
    throw new ModelError(`${source.folder}: is packed or quantised already`);
  }
  const entries = new Map(
    [...weights].map((
      [name, weight],
    ) => [name, quantizedEntry(name, weight, shapeOf(source, name, weight.grid))]),
  );
  const writer = await FolderWriter.open(fs, folder, source, overwrite);
  return await writeFolder(writer, async () => {
    const plans = source.shards.map((shard) => ({
      shard,
      entries: shard.header.tensors.map(({ name }) => entries.get(name) ?? copiedEntry(source, name)),
    }));
    const written = await writeShards(plans, writer, options);
    const result = { packed: [...weights.keys()], bytes: { dense: countWeightFileBytes(source), written } };
    await writer.writeConfig(source, makeQuantizedConfig(source.config, [...weights.values()], ignore));
    for (const [name, text] of await options.rewriteFiles?.(result) ?? []) await writer.writeText(name, text);
    await writer.copyOtherFiles(source);
    return result;
  });
}

/** Returns the shape of a weight, and checks that the layout can store it. */
function shapeOf(source: Checkpoint, name: string, grid: GridOptions): QuantizedShape {
  const { dtype, shape } = source.info(name);
  if (!isFloatDtype(dtype) || shape.length !== 2) {
    throw new ModelError(
      `${source.folder}: cannot quantise ${name}: needs a 2-D float weight, got ${dtype} [${shape}]`,
    );
  }
  const [rows, cols] = shape;
  try {
    requireStorable({ ...grid, cols });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ModelError(`${source.folder}: ${name}: ${error.message}`, { cause: error });
  }
  return { ...grid, rows, cols, dtype };
}

/** Returns the entry of a shard that writes the packed tensors of the weight `name`. */
function quantizedEntry(name: string, weight: QuantizedWeightSource, shape: QuantizedShape): ShardEntry {
  const specs = quantizedSpecs(stemOf(name), shape);
  return {
    name,
    specs,
    async writeTo(write) {
      const tensors = await weight.read();
      for (const spec of specs) {
        const tensor = tensors.get(spec.name);
        if (tensor?.dtype !== spec.dtype || !sameShape(tensor.shape, spec.shape)) {
          const found = tensor ? `${tensor.dtype} [${tensor.shape}]` : "none";
          throw new ModelError(`${spec.name}: must be ${spec.dtype} [${spec.shape}], got ${found}`);
        }
        await write(spec.name, 0, tensor.data);
      }
    },
  };
}
