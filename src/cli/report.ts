/**
 * `pare report FOLDER` draws the page `report.html` from the `pare.json` in a folder. `pare prune` writes both
 * files, but programs in other languages, such as the Python package, write only `pare.json`.
 */

import { Command } from "commander";
import { writeAtomically } from "../base/files/whole_file.ts";
import { ModelError } from "../base/files/file_error.ts";
import { REPORT_PAGE_FILE, RUN_REPORT_FILE } from "../prune/report/file_names.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { requireFolder } from "./files/input_file.ts";
import { requireNoInput, requireWritableFile } from "./files/output_path.ts";
import { readAnyReport } from "./files/run_report_files.ts";
import { addCommonOptions, type CommonOptions } from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { Output } from "./terminal/output.ts";

/** The options as commander parses them. */
interface ReportCommandOptions extends CommonOptions {
  readonly out?: string;
}

/** Returns the command `pare report`. */
export function createReportCommand(): Command {
  const command = new Command("report")
    .description("draw the page of a run from its pare.json")
    .argument("<folder>", `a folder with the file ${RUN_REPORT_FILE}`)
    .option("--out <file>", `where to write the page (default: ${REPORT_PAGE_FILE} in the folder)`);
  return addExample(addCommonOptions(command).action(report), "report out/pruned");
}

async function report(folder: string, options: ReportCommandOptions): Promise<void> {
  await requireFolder("folder", folder);
  const files = await denoFileSystem.list(folder) ?? [];
  const run = await readAnyReport({ folder, files });
  if (!run) throw new ModelError(`${folder}: has no ${RUN_REPORT_FILE}`);
  const out = options.out ?? `${folder}/${REPORT_PAGE_FILE}`;
  await requireWritableFile("--out", out);
  const others = files.filter((name) => name !== REPORT_PAGE_FILE); // an earlier page may be replaced
  await requireNoInput("--out", out, others.map((name) => `${folder}/${name}`));
  const { renderReport } = await import("../prune/report/render.tsx"); // the drawing library loads slowly
  await writeAtomically(denoFileSystem, out, new TextEncoder().encode(renderReport(run)));
  new Output(options.json ?? false).result({ layers: run.layers.length, out }, [`wrote ${out}`]);
}
