/**
 * The declaration of a zero-shot task: how a line of its data set becomes a context with choices, and which metrics it has.
 * Prompts and metrics are those of lm-evaluation-harness, so that results can be compared with published ones. A task does not
 * read files and does not run a model.
 */

/** A context and the choices that may follow it. */
export interface Example {
  /** The prompt. It does not include the space before the choice. */
  readonly context: string;
  /** At least one choice. A space is put between the context and the choice. */
  readonly choices: readonly string[];
  /** The index of the right choice. */
  readonly answer: number;
}

/**
 * How examples are scored. With `choices`, the metric is the share of examples whose most likely choice is
 * the right one. With `last word`, each example has one choice. The metrics are its perplexity, and the share
 * of examples for which greedy decoding would generate the choice.
 */
export type Scoring = "choices" | "last word";

/** A zero-shot task. The README of `evaluation/` says how to add one. */
export interface Task {
  /** The name on the command line. */
  readonly name: string;
  readonly scoring: Scoring;
  /**
   * The file with the right answers, if a form of the data set has them in a separate file. That file has one
   * answer per line. An answer becomes the field named `field` of its example. `path` takes the path of the
   * file of examples and returns the path of the file of answers.
   */
  readonly answers?: { readonly field: string; path(examples: string): string };
  /**
   * Converts a line of the data set to an example. If the data set is distributed in several forms, this function accepts all of them.
   * @param fields the parsed object in a line of a `.jsonl` file, or the columns of a line of a `.csv` file as strings
   * @throws {z.ZodError} naming the fields that are missing or malformed
   */
  example(fields: Readonly<Record<string, unknown>>): Example;
}
