/** The cells of the bench `quality`. A cell is one method for one target on one model, calibrated on one choice of texts. */

import { matchesGlob } from "node:path";
import { PRESETS } from "../../../src/cli/prune/named_options.ts";
import type { LayerQuery } from "../../../src/protocol/layer_query.ts";
import { DEFAULT_DAMPING } from "../../../src/protocol/limits.ts";
import { type BenchedModel, type Kind, listModels, type Texts } from "../../fixtures/trained_models.ts";
import { REAL_MODELS, realModelSkipReason } from "../../peers/real_model.ts";
import { pruneOptions, type TargetName, TARGETS } from "../measure/targets.ts";

/** The texts of a calibration with their shares of the windows. */
export const CALIBRATIONS: Readonly<Record<string, Readonly<Partial<Record<Kind, number>>>>> = {
  speeches: { speeches: 1 },
  mix: { speeches: 1, stories: 1 },
};

/** A part of a method: its title in the tables, and its options of `pare prune`. */
interface Part {
  readonly title: string;
  readonly options: readonly string[];
}

interface Method extends Part {
  /** The modifier of llm-compressor that takes the place of `pare prune`. It rounds without pruning. */
  readonly modifier?: string;
  /** Whether `pare prune` chooses what the options leave open, as for a user. By default those of {@link OFF} are off. */
  readonly isWhole?: boolean;
}

const PARTS = {
  sparsegpt: { title: "SparseGPT and GPTQ", options: ["--method", "sparsegpt"] },
  alps: { title: "ALPS", options: ["--method", "alps"] },
  published: { title: "as published", options: [] },
  unit: { title: "equal tokens", options: ["--token-weights", "unit"] },
  validation: { title: "validation", options: ["--validation", "0.125"] },
  ranges: { title: "searched ranges", options: ["--ranges", "search"] },
  target: { title: "targets", options: ["--target", "dense"] },
  reconstruct: { title: "reconstruction", options: ["--reconstruct", "5"] },
} as const satisfies Readonly<Record<string, Part>>;

function combine(...names: (keyof typeof PARTS)[]): Method {
  const parts = names.map((name) => PARTS[name]);
  return {
    title: parts.map(({ title }) => title).join(", "),
    options: parts.flatMap(({ options }) => options),
  };
}

/** The method that needs no calibration. It is not a method of `pare prune`. */
export const NEAREST = "nearest";

function peer(title: string, modifier: string): Method {
  return { title, options: [], modifier };
}

export const METHODS: Readonly<Record<string, Method>> = {
  [NEAREST]: { title: "magnitude, rounded to nearest", options: [] },
  "peer-gptq": peer("`GPTQModifier` of llm-compressor", "gptq-static"),
  "peer-awq": peer("`AWQModifier` of llm-compressor", "awq"),
  "published": combine("sparsegpt", "published"),
  "unit": combine("sparsegpt", "unit"),
  "unit-validation": combine("sparsegpt", "unit", "validation"),
  "unit-validation-ranges": combine("sparsegpt", "unit", "validation", "ranges"),
  "unit-validation-target": combine("sparsegpt", "unit", "validation", "target"),
  "alps": combine("alps"),
  "alps-unit": combine("alps", "unit"),
  "alps-validation": combine("alps", "unit", "validation"),
  "alps-target": combine("alps", "unit", "validation", "target"),
  "alps-reconstruct": combine("alps", "unit", "validation", "reconstruct"),
  "alps-target-reconstruct": combine("alps", "unit", "validation", "target", "reconstruct"),
  ...Object.fromEntries(
    Object.keys(PRESETS).map((preset) => [
      preset,
      { title: `\`--preset ${preset}\``, options: ["--preset", preset], isWhole: true },
    ]),
  ),
};

/** The options that a method gets unless it sets them, so that a change of a default changes no cell. */
const OFF: readonly (readonly [option: string, value: string])[] = [
  ["--token-weights", "none"],
  ["--validation", "0"],
  ["--target", "none"],
  ["--reconstruct", "0"],
  ["--damping", String(DEFAULT_DAMPING)],
];

/** What is chosen for rounding only, as {@link OFF}. */
const ROUNDING_OFF: typeof OFF = [["--ranges", "minmax"]];

/** Returns the options of `pare prune` for a cell, without the texts and the folders, or the recipe of llm-compressor. */
export function cellOptions(target: TargetName, method: string): string[] {
  const { options, isWhole = false, modifier } = METHODS[method];
  const query: LayerQuery = TARGETS[target].query;
  if (modifier) {
    return [[modifier, query.bits, query.group_size].filter((part) => part !== undefined).join(":")];
  }
  const chosen = [...pruneOptions(query), ...options];
  if (isWhole || method === NEAREST) return chosen;
  const off = chosen.includes("--bits") ? [...OFF, ...ROUNDING_OFF] : OFF;
  return [...chosen, ...off.filter(([option]) => !chosen.includes(option)).flat()];
}

/** The settings of a model. Windows are short enough that a cell of the real model takes less than two minutes on two cores. */
export type QualityModel = Pick<
  BenchedModel,
  "name" | "folder" | "seqlen" | "calibrationWindows" | "evaluationWindows"
>;

const REAL: readonly QualityModel[] = Object.entries(REAL_MODELS).map(([name, folder]) => (
  { name, folder, seqlen: 512, calibrationWindows: 32, evaluationWindows: 12 }
));

/** The number of windows of each text for the other models, so that all texts have enough tokens. */
const EVALUATION_WINDOWS = 64;

/** Lists the real models, unless they are missing, and the small ones. */
export async function listQualityModels(): Promise<QualityModel[]> {
  const reason = await realModelSkipReason();
  if (reason) console.error(`${Object.keys(REAL_MODELS).join(", ")}: skipped, because ${reason}`);
  const others = (await listModels(console.error)).map((model) => ({
    ...model,
    evaluationWindows: Math.min(EVALUATION_WINDOWS, model.evaluationWindows),
  }));
  return reason ? others : [...REAL, ...others];
}

/** A cell. Its name is MODEL/CALIBRATION/TARGET/METHOD. The calibration is `none` for a method that needs none. */
export interface Cell<Model = QualityModel> {
  readonly name: string;
  readonly model: Model;
  readonly calibration: string;
  readonly target: TargetName;
  readonly method: string;
}

/** Lists the cells that match a pattern, in the order of the tables. */
export function listCells<Model extends { readonly name: string }>(
  models: readonly Model[],
  patterns: readonly string[] = ["*/*/*/*"],
): Cell<Model>[] {
  const cells = models.flatMap((model) =>
    (Object.keys(TARGETS) as TargetName[]).flatMap((target) =>
      Object.keys(METHODS).filter((method) => isMeasured(target, method)).flatMap((method) =>
        (method === NEAREST ? ["none"] : Object.keys(CALIBRATIONS)).map((calibration) => (
          { name: [model.name, calibration, target, method].join("/"), model, calibration, target, method }
        ))
      )
    )
  );
  return cells.filter(({ name }) => patterns.some((pattern) => matchesGlob(name, pattern)));
}

/**
 * Whether a method is measured for a target. llm-compressor is measured only where weights are rounded without pruning.
 * There, a reconstruction has nothing to train unless the layers have targets.
 */
function isMeasured(target: TargetName, method: string): boolean {
  const { sparsity, bits }: LayerQuery = TARGETS[target].query, { options, modifier } = METHODS[method];
  const onlyRounds = sparsity === 0 && bits !== undefined;
  if (modifier !== undefined) return onlyRounds;
  return !onlyRounds || !options.includes("--reconstruct") || options.includes("--target");
}

/** Returns the reason why this machine cannot measure a cell, or undefined if it can. */
export function skipReason({ calibration }: Pick<Cell, "calibration">, texts: Texts): string | undefined {
  const kinds = Object.keys(CALIBRATIONS[calibration] ?? {}) as Kind[];
  const absent = kinds.find((kind) => texts[kind].calibration === undefined);
  return absent && `there is no calibration text of the kind ${absent}`;
}
