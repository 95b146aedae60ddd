/** Says how the output of a run is used here and in other programs. */

import { CONFIG_FILE } from "../../checkpoint/checkpoint.ts";
import { PACK_QUANTIZED } from "../../checkpoint/quantized/config.ts";
import { readGridKinds } from "../../checkpoint/quantized/read_config.ts";
import type { FileSystem } from "../../files/file_system.ts";
import { readJson } from "../../files/whole_file.ts";
import type { RunReport } from "../../report/run_report.ts";

/** Returns the lines that use the result in `out` here and in other programs. */
export async function loadingLines(
  out: string,
  format: RunReport["format"],
  fs: FileSystem,
): Promise<string[]> {
  const folder = JSON.stringify(out); // a text of JSON is also one of Python and, without dollar signs, of a shell
  const [names, options] = format === PACK_QUANTIZED && await hasAsymmetricGrids(out, fs)
    ? [", CompressedTensorsConfig", ", quantization_config=CompressedTensorsConfig(dequantize=True)"]
    : ["", ""];
  return [
    `see what it writes: pare generate ${folder} "PROMPT"`,
    `load it in Python: from transformers import AutoModelForCausalLM${names}; ` +
    `model = AutoModelForCausalLM.from_pretrained(${folder}${options})`,
    ...format === "dense" ? [`serve it with vLLM: vllm serve ${folder}`] : [],
  ];
}

/**
 * Whether a grid of the checkpoint is asymmetric, which a profile can choose as well. transformers 5 gives packed zero points the wrong shape, unless
 * it dequantises the weights while it loads them.
 */
async function hasAsymmetricGrids(out: string, fs: FileSystem): Promise<boolean> {
  const config = await readJson(fs, `${out}/${CONFIG_FILE}`) as Record<string, unknown>;
  return readGridKinds(out, config).kinds.some(({ symmetric }) => !symmetric);
}
