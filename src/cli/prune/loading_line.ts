/** Says how a program in Python loads the output of a run in the layout `pack-quantized`. */

import { CONFIG_FILE } from "../../checkpoint/checkpoint.ts";
import { PACK_QUANTIZED } from "../../checkpoint/quantized/config.ts";
import { readGridKinds } from "../../checkpoint/quantized/read_config.ts";
import type { FileSystem } from "../../files/file_system.ts";
import { readJson } from "../../files/whole_file.ts";
import type { RunReport } from "../../report/run_report.ts";

/**
 * Returns the line of Python that loads the checkpoint in `out` with transformers, or nothing for other formats. transformers 5 gives the packed zero
 * points of asymmetric grids the wrong shape, so it must dequantise such weights while it loads them (`tests/peers/pack_quantized_test.ts`).
 */
export async function loadingLine(
  out: string,
  format: RunReport["format"],
  fs: FileSystem,
): Promise<string[]> {
  if (format !== PACK_QUANTIZED) return [];
  const config = await readJson(fs, `${out}/${CONFIG_FILE}`) as Record<string, unknown>;
  const isSymmetric = readGridKinds(out, config).kinds.every(({ symmetric }) => symmetric);
  const option = isSymmetric ? "" : ", quantization_config=CompressedTensorsConfig(dequantize=True)";
  return [`in Python: AutoModelForCausalLM.from_pretrained(${JSON.stringify(out)}, dtype="auto"${option})`];
}
