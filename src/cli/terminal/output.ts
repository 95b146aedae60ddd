/**
 * Prints the output of a command: its result, remarks and progress. Only the result is written to standard
 * output, as lines for people, or as one JSON object with `--json`. Progress and remarks are written to
 * standard error. Progress is shown as a bar on a terminal that can move its cursor, and as one line per step elsewhere.
 */

import process from "node:process";
// @ts-types="@types/cli-progress"
import { SingleBar } from "cli-progress";
import { FileError } from "../../files/file_error.ts";
import { messageOf } from "../../text/message_of.ts";
import { printable } from "../../text/printable.ts";

/**
 * Prints a line on standard output.
 * @throws {FileError} if the line cannot be written
 */
export function printLine(text: string): void {
  const bytes = new TextEncoder().encode(`${printable(text)}\n`);
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
    throw new FileError("standard output", code, messageOf(cause), { cause });
  }
}

/** The output of one command. */
export class Output {
  constructor(readonly json: boolean) {}

  /** Prints the result: `value` as one line of JSON with `--json`, else `lines`. */
  result(value: unknown, lines: readonly string[]): void {
    printLine(this.json ? JSON.stringify(value) : lines.join("\n"));
  }

  /** Prints a line about the progress of the work. */
  remark(line: string): void {
    console.error(printable(line));
  }

  /** Starts a progress display: a bar on a terminal, lines elsewhere. */
  progress(title: string): Progress {
    return Deno.stderr.isTerminal() && process.env.TERM !== "dumb"
      ? new BarProgress(process.stderr, title)
      : new LineProgress((line) => this.remark(line), title);
  }
}

/** A progress display. */
export interface Progress {
  /** Reports that `done` of `total` steps are finished. `detail` describes the last finished step. */
  step(done: number, total: number, detail?: string): void;
  /**
   * Describes the current work between two steps. Only the bar shows this text, and only after the first
   * step.
   */
  note(detail: string): void;
  /** Removes the display, even if not all steps are finished. Idempotent. */
  stop(): void;
}

/** A bar on a terminal that is redrawn in place. */
class BarProgress implements Progress {
  readonly #bar: SingleBar;

  constructor(stream: NodeJS.WritableStream, title: string) {
    this.#bar = new SingleBar({
      stream,
      format: `${title} {bar} {value}/{total} {duration_formatted} {detail}`,
      barCompleteChar: "█",
      barIncompleteChar: "░",
      barsize: 30,
      hideCursor: true,
      clearOnComplete: true,
    });
  }

  step(done: number, total: number, text = ""): void {
    const detail = printable(text);
    if (!this.#bar.isActive) this.#bar.start(total, done, { detail });
    this.#bar.update(done, { detail });
  }

  note(text: string): void {
    this.#bar.update({ detail: printable(text) });
  }

  stop(): void {
    this.#bar.stop();
  }
}

/** A progress display that writes one line per step. */
class LineProgress implements Progress {
  constructor(
    readonly write: (line: string) => void,
    readonly title: string,
  ) {}

  step(done: number, total: number, detail = ""): void {
    this.write(`${this.title} ${done}/${total} ${detail}`.trimEnd());
  }

  note(_detail: string): void {}

  stop(): void {}
}
