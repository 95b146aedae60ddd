/** The factors and limits by which the network of a model differs from that of LLaMA, and their keys in GGUF. */

import { configError } from "../families/config/config.ts";
import type { Factors } from "../families/architecture.ts";
import type { BlockTraits, ModelSpec } from "../families/family.ts";
import { f32, type MetadataEntry } from "./container.ts";
import { titleOf } from "./architecture.ts";

/** The factor of attention scores in most families. */
export function headScale(headDim: number): number {
  return 1 / Math.sqrt(headDim);
}

export function factorsOf({ block, embedding, logits }: ModelSpec): Factors {
  const { traits } = block(0);
  return {
    attentionScale: traits?.scale ?? headScale(traits!.headDim),
    attentionSoftCap: traits?.softCap,
    residualScale: traits?.residualScale ?? 1,
    embeddingScale: embedding.scale ?? 1,
    logitScale: logits?.scale ?? 1,
    logitSoftCap: logits?.softCap,
  };
}

/** The largest relative difference of two equal factors that were computed in different ways. */
const TOLERANCE = 1e-6;

/**
 * Compares the factors of a model with those that llama.cpp uses.
 * @throws {ModelError} naming the first factor that differs
 */
export function checkFactors(wanted: Factors, used: Factors, architecture: string): void {
  for (const name of Object.keys(wanted) as (keyof Factors)[]) {
    const value = wanted[name], other = used[name];
    if (value === other || Math.abs(Number(value) - Number(other)) <= TOLERANCE * Math.abs(Number(value))) {
      continue;
    }
    throw configError(
      `gives ${name} ${value ?? "none"}, but ${titleOf(architecture)} computes with ${other ?? "none"}`,
    );
  }
}

/** Returns the entries of the factors that differ from LLaMA's. */
export function factorEntries(
  { name, multipliesLogits = false }: { readonly name: string; readonly multipliesLogits?: boolean },
  factors: Factors,
  headDim: number,
): MetadataEntry[] {
  const { attentionScale, attentionSoftCap, residualScale, embeddingScale, logitScale, logitSoftCap } =
    factors;
  const keys: [string, number | undefined, number | undefined][] = [
    ["attention.scale", attentionScale, headScale(headDim)],
    ["attn_logit_softcapping", attentionSoftCap, undefined],
    ["residual_scale", residualScale, 1],
    ["embedding_scale", embeddingScale, 1],
    ["logit_scale", multipliesLogits ? logitScale : 1 / logitScale, 1],
    ["final_logit_softcapping", logitSoftCap, undefined],
  ];
  return keys.filter(([, value, usual]) => value !== undefined && value !== usual).map((
    [key, value],
  ) => [`${name}.${key}`, f32(value!)]);
}

/**
 * Returns the entry of a factor of queries that grows with the logarithm of the position.
 * @throws {ModelError} if llama.cpp does not have the factor
 */
export function temperatureEntries(
  architecture: string,
  { queryScale, rotary }: BlockTraits,
  isSupported = false,
): MetadataEntry[] {
  const scaleAt = queryScale?.(0);
  if (!scaleAt) return [];
  const yarn = rotary?.(0)?.yarn;
  if (!isSupported || !yarn) {
    throw configError(
      `queries that depend on their position are not supported for ${titleOf(architecture)} without YaRN`,
    );
  }
  // llama.cpp computes 1 + factor · log(1 + floor(position / trainedTokens)).
  const factor = (scaleAt(yarn.trainedTokens) - 1) / Math.LN2;
  return [[`${architecture}.attention.temperature_scale`, f32(factor)]];
}
