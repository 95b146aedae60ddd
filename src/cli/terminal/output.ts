/**
 * Where a command writes. Standard output holds the result alone: lines for people, or with `--json` one JSON object. Progress and
 * remarks go to standard error.
 */

import process from "node:process";
import { BarProgress, LineProgress, type Progress } from "./progress.ts";

/** One command's output. */
export class Output {
  constructor(readonly json: boolean) {}

  /** The result: `value` as one line of JSON with `--json`, else `lines`. */
  result(value: unknown, lines: readonly string[]): void {
    console.log(this.json ? JSON.stringify(value) : lines.join("\n"));
  }

  /** A line about what is going on. */
  remark(line: string): void {
    console.error(line);
  }

  /** Progress: a bar on a terminal, lines elsewhere. */
  progress(title: string): Progress {
    return Deno.stderr.isTerminal()
      ? new BarProgress(process.stderr, title)
      : new LineProgress((line) => this.remark(line), title);
  }
}
