/**
 * `pare verify FOLDER` reads every weight of a checkpoint and reports its zeros, groups that break an n:m pattern, and values that are NaN
 * or infinite. The checkpoint may be dense, sparse or quantised. If something is wrong, the exit code is 3.
 */

import { Command, InvalidArgumentError } from "commander";
import { openCheckpoint } from "../model/checkpoint/checkpoint.ts";
import { scanCheckpoint } from "../model/formats/checkpoint/scan_checkpoint.ts";
import type { GroupPattern } from "../model/checkpoint/inspect/tensor_scan.ts";
import { storedFormat } from "../model/formats/formats.ts";
import { parsePattern } from "../tensor/pattern.ts";
import { elementCount } from "../tensor/dtype.ts";
import { messageOf } from "../base/errors.ts";
import { CheckFailedError } from "./errors.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { requireFolder } from "./files/input_file.ts";
import { readRunReport } from "./files/run_report_files.ts";
import { addCommonOptions, collectPatterns, type CommonOptions } from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { Output } from "./terminal/output.ts";
import { chooseChecks } from "./verify/choose_checks.ts";
import { faultsOf, summaryLines, type VerifiedTensor, verifyTable } from "./verify/results.ts";

/** The options as commander parses them. */
interface VerifyOptions extends CommonOptions {
  readonly pattern?: GroupPattern;
  readonly layers?: readonly string[];
}

/** Returns the command `pare verify`. `signal` stops it. */
export function createVerifyCommand(signal: AbortSignal): Command {
  const command = new Command("verify")
    .description("count the zeros of a checkpoint, and look for broken n:m patterns, NaN and infinity")
    .argument("<folder>", "a Hugging Face checkpoint folder, dense or quantised")
    .option(
      "--pattern <n:m>",
      "check that at most n of every m inputs are not zero (default: the patterns that pare.json gives)",
      parseGroupPattern,
    )
    .option(
      "--layers <patterns>",
      "check only these layers for zeros and patterns: names as for pare prune (default: the layers in pare.json, " +
        "else with --pattern all matrices in numbered blocks)",
      collectPatterns,
    );
  addExample(command, "verify pruned --pattern 2:4");
  return addCommonOptions(command).action((folder: string, options: VerifyOptions) =>
    verify(folder, options, signal)
  );
}

async function verify(folder: string, options: VerifyOptions, signal: AbortSignal): Promise<void> {
  await requireFolder("model", folder);
  await using cleanup = new AsyncDisposableStack();
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const { name: format } = storedFormat(checkpoint);
  const checks = await chooseChecks(checkpoint, await readRunReport(checkpoint), options);
  const output = new Output(options.json ?? false);
  const progress = cleanup.adopt(output.progress("verifying"), (bar) => bar.stop());
  const tensors: VerifiedTensor[] = [];
  const scan = scanCheckpoint(checkpoint, {
    patternOf: (name) => checks.get(name)?.scan,
    signal,
    progress: (done, total, name) => progress.step(done, total, name),
  });
  for await (const tensor of scan) {
    const check = checks.get(tensor.name);
    tensors.push({
      ...tensor,
      pattern: check?.pattern ?? null,
      expectedZeros: check?.zeros ?? null,
      isChecked: check !== undefined,
    });
  }
  progress.stop();
  const faults = tensors.flatMap(faultsOf);
  output.result({ folder, format, ok: faults.length === 0, tensors: tensors.map(jsonTensor), faults }, [
    verifyTable(tensors),
    ...summaryLines(tensors),
  ]);
  if (faults.length === 0) return;
  const more = faults.length === 1 ? "" : `, and ${faults.length - 1} more`;
  throw new CheckFailedError(`${folder}: ${faults[0].tensor} ${faults[0].problem}${more}`);
}

/** Returns the fields of a tensor under the names of the JSON result. */
function jsonTensor({ name, dtype, shape, zeros, pattern, violations, nonFinite }: VerifiedTensor) {
  const entries = elementCount(shape);
  return { name, dtype, shape, entries, zeros, pattern, violations, non_finite: nonFinite };
}

function parseGroupPattern(text: string): GroupPattern {
  try {
    const pattern = parsePattern(text);
    if (pattern.kind === "n:m") return pattern;
  } catch (error) {
    throw new InvalidArgumentError(`${messageOf(error)}.`);
  }
  throw new InvalidArgumentError("It must be n:m, such as 2:4.");
}
