/**
 * Prints the output of a command. Standard output has only the result: lines for people, or one JSON object with `--json`.
 * Progress and remarks are written to standard error.
 */

import process from "node:process";
import { BarProgress, LineProgress, type Progress } from "./progress.ts";

/** The output of one command. */
export class Output {
  constructor(readonly json: boolean) {}

  /** Prints the result: `value` as one line of JSON with `--json`, else `lines`. */
  result(value: unknown, lines: readonly string[]): void {
    console.log(this.json ? JSON.stringify(value) : lines.join("\n"));
  }

  /** Prints a line about the progress of the work. */
  remark(line: string): void {
    console.error(line);
  }

  /** Starts a progress display: a bar on a terminal, lines elsewhere. */
  progress(title: string): Progress {
    return Deno.stderr.isTerminal()
      ? new BarProgress(process.stderr, title)
      : new LineProgress((line) => this.remark(line), title);
  }
}
