/** A format in which other programs load models. `formats.ts` has the table of all formats. */

import type { FileSystem } from "../../base/files/file_system.ts";
import type { ModelFolder } from "../../model/model.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";

export interface ExportFormat {
  /** What `--out` of `pare export` names. */
  readonly output: "file" | "folder";
  /**
   * Writes a model to `out`. If it fails, what was there before is unchanged.
   * @throws {ModelError} if the format has no place for a tensor, or if a layer does not fit it and `round` is not set
   */
  write(opened: ModelFolder, out: string, options: WriteOptions): Promise<WriteResult>;
  /** How `pare prune --for` makes a model that fits the format. Absent if the values of `--for` do not include the format. */
  readonly target?: FormatTarget;
}

export interface WriteOptions {
  /** Whether layers that do not fit the format are rounded to nearest. Otherwise they are an error. */
  readonly round: boolean;
  /** The name of the model. */
  readonly name: string;
  readonly signal?: AbortSignal;
  progress?(done: number, total: number, tensor: string): void;
}

export interface WriteResult {
  /** The members of the result of `--json`. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** The same result as lines for people. */
  readonly lines: readonly string[];
}

export interface FormatTarget {
  /** The path of the output in the folder of the run. */
  readonly path: string;
  /** The values that options of `pare prune` may have, by option. The first one is set if the option is not given. */
  readonly options: Readonly<Record<string, readonly (string | boolean)[]>>;
  /** Returns the parameters of a layer with `cols` columns. By default all layers have the parameters of the run. */
  queryOf?(query: LayerQuery, cols: number): LayerQuery;
  /** Checks before the run that the model can be written. @throws {ModelError} if it cannot */
  check(opened: ModelFolder, fs: FileSystem): void | Promise<void>;
  /** Returns the line that says how the output at `path` is run. */
  howToRun(path: string): string;
}
