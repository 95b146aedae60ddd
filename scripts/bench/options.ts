/** The command line of `deno task bench`. */

import { Command, Option } from "commander";
import type { BackendChoice } from "../../src/host/backends.ts";
import { addBackendOption, integer } from "../../src/cli/options/common_options.ts";
import { parseSizes, type Size } from "./measure/layer_sizes.ts";
import { MODELS } from "./projection/model_shapes.ts";

/** The sizes that every run times by default. */
const SIZES = "768x768,768x3072,2048x2048,4096x4096";
/** The sizes that `--all` adds. Each takes minutes, because PyTorch is timed as well. */
const LARGE_SIZES = "4096x11008,8192x8192";

/** The parsed command line of `deno task bench`. */
export interface BenchArguments {
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

/** Parses `args`. It prints a message and ends the process if an argument is invalid or asks for help. */
export function parseArguments(args: readonly string[]): BenchArguments {
  const command = new Command("bench")
    .description(
      "Starts a host, times layers on it and in PyTorch (if installed), and writes results/NAME.json.",
    )
    .option(
      "--sizes <list>",
      "comma-separated ROWSxCOLS; an empty list times nothing",
      parseSizes,
      parseSizes(SIZES),
    )
    .option("--all", `also time ${LARGE_SIZES.replace(",", " and ")}`, false)
    .option(
      "--repeat <n>",
      "timed pairs of runs for each size, after one pair that is not timed",
      integer(1),
      5,
    )
    .option("--name <name>", "name of the results file", "layers")
    .option(
      "--http",
      "also measure the latency of 8 concurrent clients, and write results/latency.json",
      false,
    )
    .option(
      "--chart",
      "also draw how many times as fast as PyTorch Pare is, and write results/NAME.svg",
      false,
    )
    .option(
      "--no-in-process",
      "measure through requests only, without the GEMM rate and the steps of the solve",
    )
    .option("--gpu", "only time the shaders on the WebGPU adapter, and write results/gemm_webgpu.json", false)
    .option(
      "--save",
      "with --gpu: store the fastest variants for this adapter in src/webgpu/tunings.json",
      false,
    )
    .addOption(
      new Option("--project <model>", "time nothing; project the rates in results/NAME.json to a whole model")
        .choices(Object.keys(MODELS)),
    );
  const options = addBackendOption(command).parse([...args], { from: "user" }).opts<BenchArguments>();
  return options.all ? { ...options, sizes: [...options.sizes, ...parseSizes(LARGE_SIZES)] } : options;
}
