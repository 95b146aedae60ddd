/**
 * Declares the options that several commands share: their types, the functions that add them to a command, and the parsers of their values.
 */

import { type Command, InvalidArgumentError, Option } from "commander";
import {
  BACKEND_CHOICES,
  type BackendChoice,
  DEFAULT_RUNTIME,
  type Precision,
  PRECISIONS,
  type ProductsChoice,
  WEBGPU_RUNTIMES,
  type WebGpuRuntime,
} from "../../host/backends.ts";
import type { Model } from "../../model/model.ts";
import { runOption } from "../../protocol/run/run_options.ts";
import { hasOwnText, OWN_TEXT, OWN_TEXT_SEQLEN } from "../../prune/texts/own_text.ts";
import { UsageError } from "../errors.ts";
import { TEXT_VALUES } from "../files/text_source.ts";

/** The options of every command. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly debug?: boolean;
}

/** The options `--backend`, `--webgpu`, `--products` and `--precision`. */
export interface BackendFlags {
  readonly backend: BackendChoice;
  readonly webgpu: WebGpuRuntime;
  readonly products: ProductsChoice;
  readonly precision?: Precision;
}

/** Declares `--json` and `--debug`. */
export function addCommonOptions(command: Command): Command {
  return command
    .option("--json", "print the result as one JSON object, on the last line of standard output")
    .option("--debug", "print the stack trace of a failure");
}

/** Parses an address to listen on. @throws {InvalidArgumentError} */
export function listeningAddress(text: string): string {
  const name = text.includes(":") ? `[${text}]` : text;
  if (/^[\w.:-]+$/.test(text) && URL.canParse(`http://${name}`)) return text;
  throw new InvalidArgumentError("It must be a name or an address, without a port.");
}

/** Declares `--backend`, `--webgpu`, `--products` and `--precision`. */
export function addBackendOption(command: Command): Command {
  return command
    .addOption(
      new Option("--backend <kind>", "where to compute; auto uses the GPU if there is one, else the CPU")
        .env("PARE_BACKEND")
        .choices(BACKEND_CHOICES)
        .default("auto"),
    )
    .addOption(
      new Option(
        "--webgpu <runtime>",
        "the implementation of WebGPU that uses the GPU: Deno's own, or Dawn, which needs the npm package webgpu",
      )
        .env("PARE_WEBGPU")
        .choices(WEBGPU_RUNTIMES)
        .default(DEFAULT_RUNTIME),
    )
    .addOption(
      new Option(
        "--products <library>",
        "what multiplies matrices on the CPU: own for Pare's own WebAssembly, auto for an installed library or " +
          "else own, or the path of a library, such as onednn/lib/libdnnl.so.3",
      )
        .env("PARE_PRODUCTS")
        .default("auto"),
    )
    .addOption(
      new Option(
        "--precision <format>",
        "the format to which forward passes and statistics on the CPU round what they multiply; sums are float32 " +
          "(default: bfloat16 if the model is pruned and stored in bfloat16, and a library and the processor multiply it, else float32)",
      )
        .env("PARE_PRECISION")
        .choices(PRECISIONS),
    );
}

/** The texts of `--calibration` if the command line has none. */
const DEFAULT_CALIBRATION: readonly string[] = [OWN_TEXT];

/** Declares `--calibration`. */
export function addCalibrationOption(command: Command): Command {
  const option = new Option(
    "--calibration <text>",
    `text to calibrate on: ${TEXT_VALUES}; may be repeated, and TEXT=SHARE weighs its number of windows (default share: 1)`,
  );
  return command.addOption(
    option.default(DEFAULT_CALIBRATION, OWN_TEXT).argParser((value: string, earlier: readonly string[]) =>
      appendValue(value, earlier === DEFAULT_CALIBRATION ? [] : earlier)
    ),
  );
}

/** Declares `--text`, by which a command measures the model before and after it changes it. */
export function addTextOption(command: Command): Command {
  return command.option(
    "--text <text>",
    `a text to measure the perplexity on, before and after: ${TEXT_VALUES}; may be repeated`,
    appendValue,
    [],
  );
}

/**
 * The largest default of `--seqlen`, which is the window length in the code of SparseGPT's authors. Longer
 * windows cost more and change the results little.
 */
const MAX_DEFAULT_SEQLEN = 2048;

/** The options that decide the number of tokens per window. */
interface WindowFlags {
  readonly seqlen?: number;
  readonly calibration?: readonly string[];
}

/** Declares `--seqlen`, an integer of `least` or more. */
export function addSeqlenOption(command: Command, least: number): Command {
  return command.option("--seqlen <n>", runOption("seqlen").help, integer(least));
}

/**
 * Returns the number of tokens per window: `seqlen` if it is given, else the default for the model.
 * @throws {UsageError} if the model has fewer positions
 */
export function windowTokens(
  { spec: { maxTokens } }: Model,
  { seqlen, calibration = [] }: WindowFlags,
): number {
  if (seqlen !== undefined && seqlen > maxTokens) {
    throw new UsageError(`option --seqlen ${seqlen}: the model has positions for ${maxTokens} tokens`);
  }
  return seqlen ?? Math.min(maxTokens, hasOwnText(calibration) ? OWN_TEXT_SEQLEN : MAX_DEFAULT_SEQLEN);
}

/**
 * Returns a parser of decimal integers from `least` to `most`. The parser throws an InvalidArgumentError, which commander
 * reports together with the option and its value.
 */
export function integer(least: number, most: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (!(value >= least && value <= most)) {
      const range = most === Number.MAX_SAFE_INTEGER ? `of ${least} or more` : `from ${least} to ${most}`;
      throw new InvalidArgumentError(`It must be an integer ${range}.`);
    }
    return value;
  };
}

/**
 * Returns a parser of decimal numbers, which reports errors as `integer` does.
 * @param range describes the numbers for which `isAllowed` returns true, such as "of 0 or more"
 */
export function number(range: string, isAllowed: (value: number) => boolean): (text: string) => number {
  return (text) => {
    const value = /^\d*\.?\d+$/.test(text) ? Number(text) : NaN;
    if (!isAllowed(value)) throw new InvalidArgumentError(`It must be a number ${range}.`);
    return value;
  };
}

/** Allows only these values. The error suggests a similar value, such as `gguf:q4_0` for `Q4_0_M`. */
export function allowOnly(option: Option, values: readonly string[]): Option {
  const lastPart = (text: string) => text.toLowerCase().slice(text.lastIndexOf(":") + 1);
  return option.choices(values).argParser((value: string) => {
    if (values.includes(value)) return value;
    const similar = values.find((allowed) => lastPart(value).startsWith(lastPart(allowed)));
    const question = similar === undefined ? "" : ` Did you mean ${similar}?`;
    throw new InvalidArgumentError(`Allowed choices are ${values.join(", ")}.${question}`);
  });
}

/** Returns the earlier values of the option followed by `value`. Commander calls it for each use of the option. */
export function appendValue(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value];
}

/** Adds the patterns of one use of an option. They are separated by commas. A regular expression may contain commas, so it is not split. */
export function collectPatterns(text: string, earlier: readonly string[] = []): string[] {
  const isExpression = text.startsWith("/") && text.endsWith("/");
  return [...earlier, ...isExpression ? [text] : text.split(",")];
}
