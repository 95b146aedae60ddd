/**
 * Declares a fuzz test: a test that calls a parser with many generated inputs. fast-check generates the inputs
 * and shrinks an input that fails. Environment variables configure all fuzz tests:
 *
 * - `PARE_FUZZ_RUNS`: the number of inputs per parser. The default is 2,000.
 * - `PARE_FUZZ_SEED`: the seed of the inputs. By default it is random. It is part of the name of each test.
 * - `PARE_FUZZ_FIGURES`: a file to which each test appends one line of JSON with its figures.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { appendFile } from "node:fs/promises";
import fc from "fast-check";

/** The number of inputs per parser. */
const RUNS = Number(process.env.PARE_FUZZ_RUNS ?? 2000);

/** The seed of the inputs. */
const SEED = Number(process.env.PARE_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** The longest time in milliseconds that a parser may need for one input. Typical inputs need less than one millisecond. */
const MAX_MILLISECONDS = 20_000;

/** Whether a parser accepted an input, or refused it with a documented error. */
export type Outcome = "accepted" | "refused";

/** The figures of one fuzz test, as they are appended to `PARE_FUZZ_FIGURES`. */
export interface FuzzFigures extends Record<Outcome, number> {
  readonly parser: string;
  readonly runs: number;
  readonly seed: number;
  readonly seconds: number;
}

/**
 * Declares the test that `run` holds for every generated input.
 *
 * The test also fails if all inputs were accepted or all were refused, because then the inputs do not exercise the parser.
 * @param parser what is parsed, such as "range header"
 * @param inputs generates the inputs
 * @param run passes one input to the parser. It throws if the parser fails in an undocumented way, or if an accepted value
 * breaks an invariant
 */
export function fuzz<T>(
  parser: string,
  inputs: fc.Arbitrary<T>,
  run: (input: T) => Outcome | Promise<Outcome>,
): void {
  it(`${parser}: ${RUNS} inputs from seed ${SEED} are accepted, or refused with a documented error`, async () => {
    const counts: Record<Outcome, number> = { accepted: 0, refused: 0 };
    const started = performance.now();
    const property = fc.asyncProperty(inputs, async (input) => {
      const begun = performance.now();
      counts[await run(input)]++;
      const took = performance.now() - begun;
      assert.ok(took < MAX_MILLISECONDS, `the parser needed ${took} ms`);
    });
    await fc.assert(property, { numRuns: RUNS, seed: SEED });
    assert.ok(counts.accepted > 0 && counts.refused > 0, `${parser}: ${JSON.stringify(counts)}`);
    const seconds = Math.round(performance.now() - started) / 1000;
    await report({ parser, runs: RUNS, ...counts, seed: SEED, seconds });
  });
}

async function report(figures: FuzzFigures): Promise<void> {
  const path = process.env.PARE_FUZZ_FIGURES;
  if (path) await appendFile(path, JSON.stringify(figures) + "\n");
}

/**
 * Calls `parse` and returns its value, or undefined if it throws an error for which `isDocumented` is true. Any other error is
 * rethrown.
 */
export async function unlessRefused<T>(
  parse: () => T | Promise<T>,
  isDocumented: (error: unknown) => boolean,
): Promise<T | undefined> {
  try {
    return await parse();
  } catch (error) {
    if (isDocumented(error)) return undefined;
    throw error;
  }
}
