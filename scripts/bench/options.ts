/** The command line of `deno task bench`. */

import { Command, InvalidArgumentError, Option } from "commander";
import { BACKEND_CHOICES, type BackendChoice } from "../../src/host/backends.ts";
import { MODELS } from "./model_shapes.ts";

/** A layer as (rows, cols). */
export type Size = readonly [rows: number, cols: number];

/** Sizes of every run, and those that take minutes each beside the reference. */
const SIZES = "768x768,768x3072,2048x2048,4096x4096";
const LARGE_SIZES = "4096x11008,8192x8192";

/** What is asked for. */
export interface BenchCommand {
  readonly sizes: readonly Size[];
  readonly all: boolean;
  readonly backend: BackendChoice;
  readonly repeat: number;
  readonly name: string;
  readonly http: boolean;
  readonly chart: boolean;
  readonly inProcess: boolean;
  readonly gpu: boolean;
  readonly save: boolean;
  readonly project?: string;
}

/** Parses `args`; ends the process where they are wrong or ask for help. */
export function parseOptions(args: readonly string[]): BenchCommand {
  const options = new Command("bench")
    .description(
      "Times the solve of one layer through a host of its own, beside PyTorch, and writes results/NAME.json.",
    )
    .option("--sizes <list>", "comma-separated ROWSxCOLS; empty times none", parseSizes, parseSizes(SIZES))
    .option("--all", `also ${LARGE_SIZES.replace(",", " and ")}`, false)
    .addOption(new Option("--backend <kind>").choices(BACKEND_CHOICES).default("auto"))
    .option("--repeat <n>", "timed pairs a size, after one that is not", parseCount, 5)
    .option("--name <name>", "name of the results file", "layers")
    .option("--http", "also time requests of 8 clients at once, into results/latency.json", false)
    .option("--chart", "also draw the ratios of results/NAME.json into results/NAME.svg", false)
    .option("--no-in-process", "measure through requests alone: no GEMM rate, no steps of the solve")
    .option("--gpu", "instead time the shaders of the WebGPU adapter, into results/gemm_webgpu.json", false)
    .option(
      "--save",
      "with --gpu: keep the fastest variants for this adapter in src/webgpu/tunings.json",
      false,
    )
    .addOption(
      new Option("--project <model>", "time nothing: project results/NAME.json to a whole model").choices(
        Object.keys(MODELS),
      ),
    )
    .parse([...args], { from: "user" })
    .opts<BenchCommand>();
  return options.all ? { ...options, sizes: [...options.sizes, ...parseSizes(LARGE_SIZES)] } : options;
}

/** @throws {InvalidArgumentError} */
export function parseSizes(list: string): Size[] {
  return list.split(",").filter((size) => size !== "").map((size) => {
    const [, rows, cols] = /^(\d+)x(\d+)$/.exec(size) ?? [];
    if (!Number(rows) || !Number(cols)) throw new InvalidArgumentError(`${size} is not ROWSxCOLS`);
    return [Number(rows), Number(cols)];
  });
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError("needs a whole number from 1 up");
  return count;
}
