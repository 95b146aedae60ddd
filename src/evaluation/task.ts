/**
 * The declaration of a zero-shot task: how a record of its file becomes a context with choices, and how the choices are scored. Prompts and
 * scores are those of lm-evaluation-harness, so that results can be compared with published ones. A task reads no files and runs no model.
 *
 * To add a task, write a file in `tasks/` with a `Task` and add it to `tasks/tasks.ts`. If the data set is distributed in several forms,
 * `example` must recognise them.
 */

/** A context and the choices that may follow it. */
export interface Example {
  /** The prompt, without the space before the choice. */
  readonly context: string;
  /** At least one choice. Each is scored with a space before it. */
  readonly choices: readonly string[];
  /** The index of the right choice. */
  readonly answer: number;
}

/**
 * How examples are scored. `choices`: whether the most likely choice is the right one. `last word`: the perplexity of the only choice, and
 * whether the model would have generated it.
 */
export type Scoring = "choices" | "last word";

/** A zero-shot task. */
export interface Task {
  /** The name on the command line. */
  readonly name: string;
  readonly scoring: Scoring;
  /** The file with the right answers, if they are not in the records: one answer per line for the field `field`. */
  readonly answers?: { readonly field: string; path(examples: string): string };
  /**
   * Converts a record to an example.
   * @param record a parsed line of a `.jsonl` file, or a line of a `.csv` file as an object of strings
   * @throws {z.ZodError} naming the fields that do not fit the task
   */
  example(record: Readonly<Record<string, unknown>>): Example;
}
