/**
 * What a zero-shot task declares: how a record of its file becomes a context with the choices that may follow it, and how
 * their log-likelihoods are judged. Prompts and scores are lm-evaluation-harness's, so that figures can be compared with
 * published ones. A task reads no files and runs no model.
 *
 * To add one: a file in `tasks/` with a `Task`, and a line in `tasks/tasks.ts`. Where its data set is distributed in several forms,
 * `example` tells them apart.
 */

/** A context and what may follow it. */
export interface Example {
  /** The prompt, without the space before what follows. */
  readonly context: string;
  /** One at least. Each is scored with a space before it. */
  readonly choices: readonly string[];
  /** The index of the right choice. */
  readonly answer: number;
}

/**
 * How examples are judged. `choices`: whether the likeliest choice is the right one. `last word`: of the only choice, its
 * perplexity, and whether it is what the model would have written.
 */
export type Scoring = "choices" | "last word";

/** One task. */
export interface Task {
  /** As it is called on the command line. */
  readonly name: string;
  readonly scoring: Scoring;
  /** Where right answers lie when they are not in the records, one a line: in the file `path` names, for the field `field`. */
  readonly answers?: { readonly field: string; path(examples: string): string };
  /**
   * @param record a line of a `.jsonl` file, parsed; or of a `.csv` file, an object of strings
   * @throws {z.ZodError} it is not of the task's form: the issues name its fields
   */
  example(record: Readonly<Record<string, unknown>>): Example;
}
