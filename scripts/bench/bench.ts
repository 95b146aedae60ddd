/**
 * The declaration of a bench. A bench is one file of this folder, `NAME_bench.ts`, which exports its declaration as
 * `bench`. From the declaration follow the command `deno task bench NAME`, the results file `results/NAME.json`, and
 * the tables of the pages. There is no list of benches to extend.
 */

import type { Command } from "commander";
import type { BackendFlags } from "../../src/cli/options/common_options.ts";
import type { BenchDevice, Measurement } from "./report/results_file.ts";

export interface CommonBenchOptions extends BackendFlags {
  /** The name of the results file without its extension. The default is the name of the bench. */
  readonly name: string;
}

/** What a bench is given to report with. */
export interface BenchContext<Results> {
  /** The results file of an earlier run, or undefined if there is none. */
  readonly earlier: Results & Measurement | undefined;
  /** The path of an empty folder, which is removed at the end. */
  readonly scratch: string;
  /**
   * Writes the results file. A bench calls it after each finished part, so that an interrupted run loses little.
   * @param earlier the measurement that a part of the results comes from, if there is one
   */
  save(device: BenchDevice, results: Results, earlier?: Measurement): Promise<void>;
}

export interface Bench<Options extends object, Results extends object> {
  /** What is measured, as one sentence for `--help`. */
  readonly description: string;
  /** Adds the options that only this bench has. */
  readonly options?: (command: Command) => Command;
  /** Measures and saves. Progress goes to standard error. @returns the results, whose tables are then printed */
  measure(options: Options & CommonBenchOptions, context: BenchContext<Results>): Promise<Results>;
  /** Whether the results are as required. If they are not, the command exits with 1. Without it, all results are. */
  readonly passes?: (results: Results) => boolean;
  /** Renders the results as Markdown tables. Pages name a table by the bench and its name here. */
  readonly tables: Readonly<Record<string, (results: Results) => string>>;
}

/** A bench whose types are not known, as the command line and the pages use it. */
// deno-lint-ignore no-explicit-any
export type AnyBench = Bench<any, any>;

const FOLDER = new URL(".", import.meta.url), SUFFIX = "_bench.ts";

/** The names of all benches in alphabetical order. */
export function benchNames(): string[] {
  return [...Deno.readDirSync(FOLDER)].flatMap(({ name }) =>
    name.endsWith(SUFFIX) ? [name.slice(0, -SUFFIX.length)] : []
  ).toSorted();
}

/** Loads one bench. @throws {RangeError} if there is no bench of this name */
export async function loadBench(name: string): Promise<AnyBench> {
  if (!benchNames().includes(name)) {
    throw new RangeError(`there is no bench ${name}. The benches are ${benchNames().join(", ")}`);
  }
  const { bench }: { readonly bench: AnyBench } = await import(new URL(`${name}${SUFFIX}`, FOLDER).href);
  return bench;
}
