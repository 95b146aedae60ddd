/** The dense format: every weight is one tensor of floats, and config.json has no `quantization_config`. */

import { textConfig } from "../families/families.ts";
import type { Format } from "./format.ts";

export const DENSE = {
  name: "dense",
  howToLoad: (folder, config) => [
    transformersLine(folder, config),
    `serve it with vLLM: vllm serve ${folder}`,
  ],
} as const satisfies Format;

/**
 * Returns the line that loads a checkpoint by transformers.
 * @param folder the path of the checkpoint as a text of JSON
 * @param classes further classes that are imported, each after a comma
 * @param options further arguments, each after a comma
 */
export function transformersLine(
  folder: string,
  config: Readonly<Record<string, unknown>>,
  classes = "",
  options = "",
): string {
  const model = textConfig(config) ? "AutoModelForImageTextToText" : "AutoModelForCausalLM";
  return `load it in Python: from transformers import ${model}${classes}; ` +
    `model = ${model}.from_pretrained(${folder}${options})`;
}
