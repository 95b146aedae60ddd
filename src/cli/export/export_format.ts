/** A format in which other programs load models. `formats.ts` has the table of all formats. */

import type { FileSystem } from "../../base/files/file_system.ts";
import type { DescribedModel, ModelFolder } from "../../model/model.ts";
import type { SizedLayer } from "../../prune/block_plan.ts";
import type { OutputPlan } from "../../prune/run/plan_output.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";

export interface ExportFormat {
  /** Whether `--out` of `pare export` names a file or a folder. */
  readonly output: "file" | "folder";
  /**
   * Writes a model to `out`. If it fails, an existing file or checkpoint at `out` is unchanged.
   * @throws {ModelError} if the format has no place for a tensor, or if a layer does not fit it and `round` is not set
   */
  write(opened: ModelFolder, out: string, options: WriteOptions): Promise<WriteResult>;
  /**
   * The allowed values of the options of `pare prune` that `--for` sets, by option. The first value is the default. Absent if `--for`
   * does not accept the format.
   */
  readonly options?: Readonly<Record<string, readonly (string | boolean)[]>>;
  /** How a run writes the format. By default, it writes a checkpoint in the format that `options` gives `--format`. */
  readonly file?: FileTarget;
}

export interface WriteOptions {
  /** Whether layers that do not fit the format are rounded to nearest. Otherwise they are an error. */
  readonly round: boolean;
  /** The name of the model in reports. */
  readonly name: string;
  readonly signal?: AbortSignal;
  progress?(done: number, total: number, tensor: string): void;
}

export interface WriteResult {
  /** The members of the result of `--json`. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** The lines that are printed without `--json`. */
  readonly lines: readonly string[];
}

/** A run of `pare prune --for`. */
export interface RoundedRun {
  /** The name of the model in reports. */
  readonly name: string;
  /** The parameters of each rounded layer, by the name of its weight. */
  readonly queries: ReadonlyMap<string, LayerQuery>;
}

/** A file that a run writes layer by layer. */
export interface PlannedExport {
  /** The lines about the file, such as the layers that get another type than the format names. */
  readonly lines: readonly string[];
  readonly output: OutputPlan;
}

/** How `pare prune --for` writes a file in place of a checkpoint. */
export interface FileTarget {
  /** The path of the file in the folder of the run. */
  readonly path: string;
  /** Fits the parameters of a layer to its columns. @throws {UsageError} if the layer is rounded to another grid than the format */
  queryOf(layer: SizedLayer, query: LayerQuery): LayerQuery;
  /**
   * Checks, before the run, parts of the model that the run does not change.
   * @throws {ModelError} if it cannot be written
   */
  check(opened: DescribedModel, fs: FileSystem): Promise<void>;
  /** Plans the file of a run, without reading a weight. */
  plan(
    opened: Pick<ModelFolder, "checkpoint" | "model">,
    fs: FileSystem,
    run: RoundedRun,
  ): Promise<PlannedExport>;
  /** Returns the line that says how to run the file at `path`. */
  howToRun(path: string): string;
}
