/** A format in which other programs load models. `formats.ts` has the table of all formats. */

import type { FileSystem } from "../../base/files/file_system.ts";
import type { DescribedModel, ModelFolder } from "../../model/model.ts";
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
  /** Settings for `pare prune --for`. Absent if `--for` does not accept the format. */
  readonly target?: FormatTarget;
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

export interface PlannedExport {
  /** The bytes of each exported file without the report files, by its path in the folder of the run. */
  readonly files: ReadonlyMap<string, number>;
  /** The lines about layers that get another type than the format names. */
  readonly lines: readonly string[];
  /** How the run writes the format layer by layer. Without it, the run writes a checkpoint, which is exported at its end. */
  readonly output?: OutputPlan;
}

/** How `pare prune --for` makes a model that fits the format. */
export interface FormatTarget {
  /** The path of the output in the folder of the run. */
  readonly path: string;
  /** The allowed values of options of `pare prune`, by option. The first value is the default. */
  readonly options: Readonly<Record<string, readonly (string | boolean)[]>>;
  /** Whether the run must round all linear layers, because the format has no place for a layer without codes. */
  readonly roundsAll: boolean;
  /** Changes the parameters of a layer with `cols` columns. Absent if the format needs no changes. */
  queryOf?(query: LayerQuery, cols: number): LayerQuery;
  /**
   * Checks, before the run, parts of the model that the run does not change.
   * @throws {ModelError} if it cannot be written
   */
  check(opened: DescribedModel, fs: FileSystem): void | Promise<void>;
  /** Plans the output of a run, without reading a weight. */
  plan(
    opened: Pick<ModelFolder, "checkpoint" | "model">,
    fs: FileSystem,
    run: RoundedRun,
  ): Promise<PlannedExport>;
  /** Returns the lines that say how to run the output at `path`. @param config the config.json of the model */
  howToRun(path: string, config: Readonly<Record<string, unknown>>): string;
}
