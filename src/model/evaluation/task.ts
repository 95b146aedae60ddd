/**
 * The declaration of a zero-shot task: how a line of its data set becomes a context with choices, and which metrics it
 * has. Prompts and metrics are those of lm-evaluation-harness.
 */

export interface Example {
  /** The prompt. It does not include the space before the choice. */
  readonly context: string;
  /** At least one choice. A space is put between the context and the choice. */
  readonly choices: readonly string[];
  readonly answer: number;
}

/**
 * With `choices`, the metric is the share of examples whose most likely choice is right. With `last word`, each example
 * has one choice, and the metrics are its perplexity and the share of examples for which greedy decoding would generate
 * it.
 */
export type Scoring = "choices" | "last word";

export interface Task {
  readonly name: string;
  readonly scoring: Scoring;
  /**
   * The file with the right answers, one per line, if a form of the data set has one. An answer becomes the field
   * `field` of its example. `path` returns the path of the file for a file of examples.
   */
  readonly answers?: { readonly field: string; path(examples: string): string };
  /**
   * Converts a line of any form of the data set to an example.
   * @param fields the object in a line of a `.jsonl` file, or the columns of a line of a `.csv` file as strings
   * @throws {z.ZodError} naming the fields that are missing or malformed
   */
  example(fields: Readonly<Record<string, unknown>>): Example;
}
