/**
 * Reads the examples of a task from a file: a `.csv` file with a header line, or JSON Lines. Blank lines are skipped. Every example has
 * its file and line, so that later errors can name them.
 */

import { parse as parseCsv } from "csv-parse/sync";
import { z } from "zod";
import { ModelError } from "../files/model_error.ts";
import type { FileSystem } from "../files/file_system.ts";
import { readText } from "../files/json_file.ts";
import type { Example, Task } from "./task.ts";
import { messageOf } from "../text/message_of.ts";

/** An example with its position in the file. */
export interface PlacedExample extends Example {
  /** `FILE: line N`. */
  readonly place: string;
}

interface Line {
  readonly number: number;
  readonly record: Readonly<Record<string, unknown>>;
}

const recordSchema = z.record(z.string(), z.unknown());

/**
 * Reads the examples in `path`, in order.
 * @param limit the number of examples to read, from the first
 * @throws {ModelError} naming the file, the line and the field that is malformed, or if there is no example
 */
export async function readExamples(
  task: Task,
  path: string,
  fs: FileSystem,
  limit = Infinity,
): Promise<PlacedExample[]> {
  const text = await readText(fs, path);
  const lines = path.endsWith(".csv") ? csvLines(path, text) : jsonLines(path, text);
  if (lines.length === 0) throw new ModelError(`${path}: has no examples`);
  const answered = await withAnswers(task, path, lines, fs);
  return answered.slice(0, limit).map(({ number, record }) => {
    const place = `${path}: line ${number}`;
    try {
      return { ...task.example(record), place };
    } catch (error) {
      if (!(error instanceof z.ZodError)) throw error;
      throw new ModelError(`${place}: ${error.issues.map(describe).join("; ")}`);
    }
  });
}

function describe({ path, message }: z.core.$ZodIssue): string {
  return path.length === 0 ? message : `field ${path.join(".")}: ${message}`;
}

function jsonLines(path: string, text: string): Line[] {
  return text.split("\n").flatMap((line, i) => {
    return line.trim() === "" ? [] : [{ number: i + 1, record: parseLine(line, `${path}: line ${i + 1}`) }];
  });
}

function parseLine(line: string, place: string): Line["record"] {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    const reason = messageOf(cause);
    throw new ModelError(`${place}: is not valid JSON: ${reason}`, { cause });
  }
  const record = recordSchema.safeParse(value);
  if (record.success) return record.data;
  throw new ModelError(`${place}: must be a JSON object`);
}

function csvLines(path: string, text: string): Line[] {
  try {
    const parsed = parseCsv<{ record: Record<string, string>; info: { lines: number } }>(text, {
      columns: true,
      info: true,
      skip_empty_lines: true,
    });
    return parsed.map(({ record, info }) => ({ number: info.lines, record }));
  } catch (cause) {
    const reason = messageOf(cause);
    throw new ModelError(`${path}: is not valid CSV: ${reason}`, { cause });
  }
}

/** Adds the answers from a separate file to `lines`, if the records have none. */
async function withAnswers(
  { answers }: Task,
  path: string,
  lines: readonly Line[],
  fs: FileSystem,
): Promise<readonly Line[]> {
  if (!answers || lines.some(({ record }) => answers.field in record)) return lines;
  const answersPath = answers.path(path);
  const values = (await readAnswers(answersPath, path, answers.field, fs)).trim().split(/\s+/);
  if (values.length !== lines.length) {
    throw new ModelError(
      `${answersPath}: has ${values.length} answers, ${path} has ${lines.length} examples`,
    );
  }
  return lines.map(({ number, record }, i) => ({
    number,
    record: { ...record, [answers.field]: values[i] },
  }));
}

async function readAnswers(
  answersPath: string,
  path: string,
  field: string,
  fs: FileSystem,
): Promise<string> {
  try {
    return await readText(fs, answersPath);
  } catch (cause) {
    const reason = messageOf(cause);
    throw new ModelError(
      `${path}: its lines have no field ${field}, and ${answersPath} cannot be read: ${reason}`,
      { cause },
    );
  }
}
