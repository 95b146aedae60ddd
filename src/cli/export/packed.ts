/** The formats that are folders of a checkpoint whose layers are codes. */

import { GROUP_SIZES, type WrittenFormat } from "../../model/formats/format.ts";
import { writePacked } from "../../model/packed/write_packed.ts";
import { baseOfCard } from "../../prune/report/base_card.ts";
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
import type { ExportFormat } from "./export_format.ts";

export function packedFormat(format: WrittenFormat): ExportFormat {
  const { name, writer: { bits, isUniform } } = format;
  return {
    output: "folder",
    ...isUniform && {
      options: {
        bits: bits.map(String),
        groupSize: GROUP_SIZES.map(String).reverse(),
        symmetric: [true],
        format: [name],
      },
    },
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
