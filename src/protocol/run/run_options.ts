/** Reads the table of the options of a run: what the command line, fingerprints, reports and requests need of it. */

import {
  type BlockOptions,
  type PrunedLayers,
  RUN_OPTIONS,
  type RunOption,
  type RunOptionName,
  type RunOptions,
} from "./options.ts";
import type { SentRunOptions } from "./sent_run_options.ts";

/** The names of all options, in order. */
export const RUN_OPTION_NAMES = Object.keys(RUN_OPTIONS) as RunOptionName[];

/** Returns the declaration of an option. */
export function runOption(name: string): RunOption {
  return RUN_OPTIONS[name as RunOptionName];
}

/** Returns the name of an option in the contract and in `pare.json`, such as `true_sequential`. */
export function parameterName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Returns an option of the command line without its value, such as `--true-sequential`. */
export function optionFlag(name: string): string {
  return `--${parameterName(name).replaceAll("_", "-")}`;
}

/** Returns an option of the command line with its value, such as `--target dense`. */
function optionText(name: string, value: unknown): string {
  return value === true ? optionFlag(name) : `${optionFlag(name)} ${value}`;
}

/** Whether the value of an option is not its default. */
function isGiven(name: string, value: unknown): boolean {
  return value !== undefined && value !== runOption(name).schema.parse(undefined);
}

/** Returns the options that are not the default and that `pare.json` has, by their names there. */
export function reportedOptions(options: Partial<RunOptions>): Record<string, unknown> {
  const reported = RUN_OPTION_NAMES.filter((name) =>
    runOption(name).record === "report" && isGiven(name, options[name])
  );
  return Object.fromEntries(reported.map((name) => [parameterName(name), options[name]]));
}

/** Returns the options on which the bytes of a result depend, by their names in the contract. */
export function fingerprintOptions(options: Partial<RunOptions>): Record<string, unknown> {
  const reported = reportedOptions(options);
  const entries = RUN_OPTION_NAMES.map((name) => {
    const parameter = parameterName(name);
    return [parameter, runOption(name).record === "fingerprint" ? options[name] : reported[parameter]];
  });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** An option that does not work with another one or with the layers, and why. */
export interface OptionConflict {
  /** The option with its value, and the sentence that follows it. */
  readonly option: string;
  readonly rule: string;
  /** The names of the option and of the other one. */
  readonly names: readonly string[];
}

/** Lists the options that do not work together, or with the layers of a run, if these are given. */
export function optionConflicts(options: Partial<RunOptions>, run?: PrunedLayers): OptionConflict[] {
  return RUN_OPTION_NAMES.filter((name) => isGiven(name, options[name])).flatMap((name) => {
    const { conflicts = [], layerRule } = runOption(name), option = optionText(name, options[name]);
    const fault = run && layerRule?.(run);
    const others = conflicts.filter(({ with: other, value }) => {
      const given = options[other as RunOptionName];
      return value === undefined ? isGiven(other, given) : given === value;
    }).map(({ with: other, rule }) => {
      return { option, rule: rule(optionText(other, options[other as RunOptionName])), names: [name, other] };
    });
    return fault === undefined ? others : [...others, { option, rule: fault, names: [name] }];
  });
}

/** The options whose declarations have the member `Member`. */
type NameWith<Member extends keyof RunOption> = {
  [Name in RunOptionName]: (typeof RUN_OPTIONS)[Name] extends { readonly [M in Member]: unknown } ? Name
    : never;
}[RunOptionName];

function namesWith<Member extends keyof RunOption>(member: Member): NameWith<Member>[] {
  return RUN_OPTION_NAMES.filter((name) => member in RUN_OPTIONS[name]) as NameWith<Member>[];
}

/** The options that `pare shrink` has too. */
export const SHRINK_OPTIONS = namesWith("shrink");

/** The options that `pare.json` of `pare shrink` has, with their defaults. */
export const SHRINK_REPORT_OPTIONS = SHRINK_OPTIONS.filter((name) =>
  runOption(name).record === "report"
) as Extract<NameWith<"shrink">, keyof BlockOptions>[];

/** The schemas of these options. */
export type ShrinkFields = {
  [Name in (typeof SHRINK_REPORT_OPTIONS)[number]]: (typeof RUN_OPTIONS)[Name]["schema"];
};

/** Returns the options that a preset sets, each alone. */
export function presetValues(preset: string): Partial<RunOptions>[] {
  return namesWith("presets").map((name) => [name, runOption(name).presets![preset]] as const)
    .filter(([, value]) => value !== undefined).map(([name, value]) => ({ [name]: value }));
}

/** The options that `POST /v1/blocks/prune` has as parameters. */
type SentName = NameWith<"block">;

/** The options that `POST /v1/blocks/prune` has as parameters, with their values. */
export type SentOptions = Pick<RunOptions, SentName>;

type ParameterName<Name extends string> = Name extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `_${Lowercase<First>}`}${ParameterName<Rest>}`
  : Name;

const SENT = namesWith("block");

/** The schemas of these parameters, by their names in the contract. */
export const SENT_FIELDS = Object.fromEntries(
  SENT.map((
    name,
  ) => [parameterName(name), RUN_OPTIONS[name].schema.meta({ description: RUN_OPTIONS[name].block })]),
) as { [Name in SentName as ParameterName<Name>]: (typeof RUN_OPTIONS)[Name]["schema"] };

/** Returns the options of a run as parameters of a request. */
export function sentParameters(options: Partial<SentOptions>): SentRunOptions {
  return Object.fromEntries(SENT.map((name) => [parameterName(name), options[name]]));
}

/** Returns the options of a run that a request has as parameters. */
export function sentOptions(query: Required<SentRunOptions>): SentOptions {
  return Object.fromEntries(
    SENT.map((name) => [name, query[parameterName(name) as keyof SentRunOptions]]),
  ) as SentOptions;
}
