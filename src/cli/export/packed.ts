/** The formats that are folders of a checkpoint whose layers are codes. */

import { countPlannedBytes } from "../../model/checkpoint/write/write_plan.ts";
import { GROUP_SIZES } from "../../model/formats/codes/packed_words.ts";
import type { WrittenFormat } from "../../model/formats/format.ts";
import { WEIGHT_FORMATS } from "../../model/formats/formats.ts";
import { PACK_QUANTIZED_FORMAT } from "../../model/formats/pack_quantized.ts";
import { packedWeights, planPacked, writePacked } from "../../model/packed/write_packed.ts";
import { baseOfCard } from "../../prune/report/base_card.ts";
import { REPORT_FILES } from "../../prune/report/file_names.ts";
import { bytesText } from "../../prune/report/format.ts";
import { describeGrid } from "../../tensor/quantization.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import { lockOutput } from "../files/output_path.ts";
import {
  readModelCard,
  readRunReport,
  runReportFiles,
  withoutFingerprint,
} from "../files/run_report_files.ts";
import type { ExportFormat, FormatTarget } from "./export_format.ts";

export function packedFormat(format: WrittenFormat): ExportFormat {
  const { name } = format;
  return {
    output: "folder",
    target: WEIGHT_FORMATS.some((written) => written === name) ? undefined : packedTarget(format),
    async write(opened, out, options) {
      await using _lock = await lockOutput(out);
      const run = withoutFingerprint(await readRunReport(opened.checkpoint));
      const baseCard = baseOfCard(await readModelCard(opened.checkpoint));
      const { grid, exact, rounded, bytes } = await writePacked(opened, out, denoFileSystem, {
        ...options,
        format,
        rewriteFiles: (written) => runReportFiles(run, { format: name, written }, baseCard),
      });
      const counts = [
        `${exact.length} with their own codes`,
        ...rounded.length > 0 ? [`${rounded.length} rounded to nearest`] : [],
      ];
      const line = `${name}, ${bytesText(bytes)}: ${exact.length + rounded.length} layers in ${
        describeGrid({ ...grid, symmetric: true })
      } (${counts.join(", ")})`;
      return { facts: { grid, layers: { exact, rounded }, bytes }, lines: [line] };
    },
  };
}

/** Settings for a format that runs do not write layer by layer, but export at their end. */
function packedTarget(format: WrittenFormat): FormatTarget {
  const { name, writer: { bits, groupSizes = GROUP_SIZES }, howToLoad } = format;
  const canBePacked = bits.every((each) => PACK_QUANTIZED_FORMAT.writer.bits.includes(each));
  return {
    path: name,
    options: {
      bits: bits.map(String),
      groupSize: groupSizes.map(String).reverse(),
      symmetric: [true],
      format: canBePacked ? [PACK_QUANTIZED_FORMAT.name, "dense"] : ["dense"],
    },
    roundsAll: true,
    plan: async (opened, fs, { queries }) => {
      const [{ bits, group_size }] = queries.values(); // all layers have the same grid
      const plan = planPacked(opened, fs, format, { bits: bits!, groupSize: group_size! });
      const files = await countPlannedBytes(plan, fs, REPORT_FILES);
      return { files: new Map([...files].map(([file, bytes]) => [`${name}/${file}`, bytes])), lines: [] };
    },
    check: ({ checkpoint, model }) => void packedWeights(checkpoint.folder, model, format),
    howToRun: (path, config) => howToLoad(JSON.stringify(path), config).join("\n"),
  };
}
