/**
 * Prints the output of a command: its result, remarks and progress. Only the result is written to standard output, as lines for people, or
 * as one JSON object with `--json`. Progress and remarks are written to standard error. Progress is shown as a bar on a terminal, and as
 * lines in logs and pipes, first every ten seconds and later every minute. Control characters in names are escaped, because they come from
 * checkpoints and servers.
 */

import process from "node:process";
// @ts-types="@types/cli-progress"
import { SingleBar } from "cli-progress";
import Table from "cli-table3";
import { FileError } from "../../base/files/file_error.ts";
import { secondsText } from "../../prune/report/format.ts";
import { messageOf } from "../../base/errors.ts";
import { UsageError } from "../errors.ts";
import { PROGRESS_VARIABLE } from "../environment.ts";
import { printableLine, printableText } from "../../base/texts.ts";

/** The output of one command. */
export class Output {
  constructor(readonly json: boolean) {}

  /** Prints the result: `value` as one line of JSON with `--json`, else `lines`. */
  result(value: unknown, lines: readonly string[]): void {
    printToOutput(this.json ? printableLine(JSON.stringify(value)) : printableText(lines.join("\n")));
  }

  /** Prints a piece of a result for people. With `--json`, nothing is printed. */
  stream(piece: string): void {
    if (!this.json) writeToOutput(() => writeAll(new TextEncoder().encode(printableText(piece))));
  }

  /** Prints a line about the progress of the work. */
  remark(line: string): void {
    console.error(printableLine(line));
  }

  /**
   * Starts a progress display: a bar on a terminal, lines elsewhere.
   * @param count the text for the number of finished steps. By default, the steps are counted
   */
  progress(title: string, count: CountText = stepsText): ProgressDisplay {
    // A dumb terminal does not understand the codes that move its cursor.
    return Deno.stderr.isTerminal() && Deno.env.get("TERM") !== "dumb"
      ? new BarProgress(process.stderr, title, count)
      : new LineProgress((line) => this.remark(line), title, secondsBetweenLines(), count);
  }
}

/** Returns the text for `done` of `total` steps. */
type CountText = (done: number, total: number) => string;

const stepsText: CountText = (done, total) => `${done}/${total}`;

/** The text for steps that mean nothing to the user. */
export const percentText: CountText = (done, total) => `${Math.floor(100 * done / total)} %`;

/** The seconds between two lines if the variable is not set. */
const DEFAULT_SECONDS = 10;

/** A line is due after this share of the time since the first line, but every minute in any case. */
const SHARE_BETWEEN_LINES = 0.1, MAX_SECONDS = 60;

/** @throws {UsageError} if the variable is set to another text than a number from 0 on */
function secondsBetweenLines(): number {
  const text = Deno.env.get(PROGRESS_VARIABLE) ?? String(DEFAULT_SECONDS), seconds = Number(text);
  if (text.trim() !== "" && seconds >= 0) return seconds;
  throw new UsageError(
    `the environment variable ${PROGRESS_VARIABLE} ${text}: must be a number of seconds from 0 on`,
  );
}

/** Writes a line to standard output. @throws {FileError} if the disk is full, or if nobody reads the output any more */
export function printToOutput(line: string): void {
  writeToOutput(() => console.log(line));
}

/** Writes bytes to standard output without a line end. */
function writeAll(bytes: Uint8Array): void {
  for (let start = 0; start < bytes.length;) start += Deno.stdout.writeSync(bytes.subarray(start));
}

/** Calls `write`, and turns its errors into errors of standard output. */
function writeToOutput(write: () => void): void {
  try {
    write();
  } catch (cause) {
    const message = messageOf(cause), isFull = /No space left/.test(message);
    throw new FileError("standard output", isFull ? "ENOSPC" : "EPIPE", message, { cause });
  }
}

export interface ProgressDisplay {
  /**
   * Reports that `done` of `total` steps are finished. `detail` describes the last finished step, and `secondsLeft` is the time until the
   * end, if it is known.
   */
  step(done: number, total: number, detail?: string, secondsLeft?: number): void;
  /** Describes the current work between two steps. The text is shown only after the first step. */
  note(detail: string, secondsLeft?: number): void;
  /** Removes the display, even if not all steps are finished. Idempotent. */
  stop(): void;
}

/** The width of a bar in characters. */
const BAR_SIZE = 20;

/** A bar on a terminal that is redrawn in place. */
class BarProgress implements ProgressDisplay {
  readonly #bar: SingleBar;

  constructor(stream: NodeJS.WritableStream, title: string, count: CountText) {
    this.#bar = new SingleBar({
      stream,
      format: (_options, { value, total, progress }, { left, detail }) => {
        const filled = Math.round(BAR_SIZE * progress);
        const bar = "█".repeat(filled) + "░".repeat(BAR_SIZE - filled);
        const line = [title, bar, count(value, total), left, detail].filter(Boolean).join(" ");
        // The bar erases the rest of the line after the text, so the last column must be free.
        const width = terminalColumns() - 1;
        return line.length <= width ? line : `${line.slice(0, width - 1)}…`;
      },
      hideCursor: true,
      clearOnComplete: true,
    });
  }

  step(done: number, total: number, detail?: string, secondsLeft?: number): void {
    const printable = payload(detail ?? "", secondsLeft);
    if (!this.#bar.isActive) this.#bar.start(total, done, { left: "", ...printable });
    this.#bar.update(done, printable);
  }

  note(detail: string, secondsLeft?: number): void {
    this.#bar.update(payload(detail, secondsLeft));
  }

  stop(): void {
    this.#bar.stop();
  }
}

function terminalColumns(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 80; // neither standard input nor output is a terminal
  }
}

/** Returns the texts of a bar. Without a new estimate, the bar keeps the time left. */
function payload(detail: string, secondsLeft: number | undefined): Record<string, string> {
  const left = timeLeft(secondsLeft);
  return { detail: printableLine(detail), ...left && { left } };
}

/**
 * A progress display that writes lines. The first step and the last step are always written. Steps and notes between them are written only
 * if some seconds have passed since the last line.
 */
export class LineProgress implements ProgressDisplay {
  #first?: number;
  #written = -Infinity;
  #done?: { readonly done: number; readonly total: number };

  /** @param now returns the time in seconds */
  constructor(
    readonly write: (line: string) => void,
    readonly title: string,
    readonly seconds: number,
    readonly count: CountText = stepsText,
    readonly now = () => performance.now() / 1000,
  ) {}

  step(done: number, total: number, detail?: string, secondsLeft?: number): void {
    this.#done = { done, total };
    this.#writeLine(detail, secondsLeft, done === total);
  }

  note(detail: string, secondsLeft?: number): void {
    if (this.#done && this.seconds > 0) this.#writeLine(detail, secondsLeft);
  }

  stop(): void {}

  #writeLine(detail: string | undefined, secondsLeft: number | undefined, isDue = false): void {
    const now = this.now(),
      growing = Math.min(MAX_SECONDS, SHARE_BETWEEN_LINES * (now - (this.#first ??= now)));
    const seconds = this.seconds === 0 ? 0 : Math.max(this.seconds, growing);
    if (!isDue && now - this.#written < seconds) return;
    this.#written = now;
    const { done, total } = this.#done!;
    // Such as `pruning 6/24 (about 12 s left) model.layers.0.fc2.weight relative error 0.1203`.
    this.write(
      [this.title, this.count(done, total), timeLeft(secondsLeft), detail].filter(Boolean).join(" "),
    );
  }
}

/** Returns `(about 12 s left)`, or an empty text if the time is not known. */
export function timeLeft(seconds: number | undefined): string {
  if (seconds === undefined) return "";
  const whole = Math.max(1, Math.round(seconds)); // a fraction of a second would claim more than is known
  return `(about ${whole < 10 ? `${whole} s` : secondsText(whole)} left)`;
}

/** Returns a table. The first `labels` columns are aligned to the left, the others to the right. */
export function textTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  labels = 1,
): string {
  const colAligns = head.map((_, i) => i < labels ? "left" as const : "right" as const);
  const table = new Table({ head: [...head], colAligns, style: { head: [], border: [], compact: true } });
  table.push(...rows.map((row) => row.map(printableLine)));
  return table.toString();
}
