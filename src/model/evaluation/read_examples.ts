/**
 * Reads the examples of a zero-shot task from a file. The file is CSV with a header line if its name ends in `.csv`,
 * and otherwise JSON Lines. Blank lines are skipped. Every example records its file and line for later errors.
 */

import { parse as parseCsv } from "csv-parse/sync";
import { z } from "zod";
import { ModelError } from "../../base/files/file_error.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import { parseJsonAt, readText } from "../../base/files/whole_file.ts";
import type { Example, Task } from "./tasks.ts";
import { messageOf } from "../../base/errors.ts";

export interface LocatedExample extends Example {
  /** `FILE: line N` */
  readonly location: string;
}

interface Line {
  readonly number: number;
  readonly fields: Readonly<Record<string, unknown>>;
}

const fieldsSchema = z.record(z.string(), z.unknown());

/**
 * Reads the examples in the file `path`, in order.
 * @param limit the largest number of examples to return
 * @throws {ModelError} if the file has no examples, or if a line is malformed. The message names the place
 */
export async function readExamples(
  task: Task,
  path: string,
  fs: FileSystem,
  limit = Infinity,
): Promise<LocatedExample[]> {
  const text = await readText(fs, path);
  const lines = path.endsWith(".csv") ? csvLines(path, text) : jsonLines(path, text);
  if (lines.length === 0) throw new ModelError(`${path}: has no examples`);
  const linesWithAnswers = await withAnswers(task, path, lines, fs);
  return linesWithAnswers.slice(0, limit).map(({ number, fields }) => {
    const location = `${path}: line ${number}`;
    try {
      return { ...task.example(fields), location };
    } catch (error) {
      if (!(error instanceof z.ZodError)) throw error;
      throw new ModelError(`${location}: ${error.issues.map(issueText).join("; ")}`);
    }
  });
}

/** Returns the text of an issue, with the name of the field. */
function issueText({ path, message }: z.core.$ZodIssue): string {
  return path.length === 0 ? message : `field ${path.join(".")}: ${message}`;
}

function jsonLines(path: string, text: string): Line[] {
  return text.split("\n").flatMap((line, i) => {
    return line.trim() === "" ? [] : [{ number: i + 1, fields: parseFields(line, `${path}: line ${i + 1}`) }];
  });
}

function parseFields(line: string, location: string): Line["fields"] {
  const fields = fieldsSchema.safeParse(parseJsonAt(line, location));
  if (fields.success) return fields.data;
  throw new ModelError(`${location}: must be a JSON object`);
}

function csvLines(path: string, text: string): Line[] {
  try {
    const parsed = parseCsv<{ record: Record<string, string>; info: { lines: number } }>(text, {
      columns: true,
      info: true,
      skip_empty_lines: true,
    });
    return parsed.map(({ record, info }) => ({ number: info.lines, fields: record }));
  } catch (cause) {
    const reason = messageOf(cause);
    throw new ModelError(`${path}: is not valid CSV: ${reason}`, { cause });
  }
}

/** Adds the answers to the fields of `lines`, if the task has a file of answers and no line has an answer. */
async function withAnswers(
  { answers }: Task,
  path: string,
  lines: readonly Line[],
  fs: FileSystem,
): Promise<readonly Line[]> {
  if (!answers || lines.some(({ fields }) => answers.field in fields)) return lines;
  const answersPath = answers.path(path);
  const values = (await readAnswers(answersPath, path, answers.field, fs)).trim().split(/\s+/);
  if (values.length !== lines.length) {
    throw new ModelError(
      `${answersPath}: has ${values.length} answers, but ${path} has ${lines.length} examples`,
    );
  }
  return lines.map(({ number, fields }, i) => ({
    number,
    fields: { ...fields, [answers.field]: values[i] },
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
      `${path}: no line has the field ${field}, and ${answersPath} cannot be read: ${reason}`,
      { cause },
    );
  }
}
