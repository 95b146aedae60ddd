/** The figures of the attacks, as `scripts/bench/results/attacks.json` stores them. */

/** The figures of one fuzz test, as the tests in `tests/fuzz/` write them. */
export interface FuzzFigures {
  readonly parser: string;
  /** The number of generated inputs. */
  readonly runs: number;
  readonly accepted: number;
  readonly refused: number;
  readonly seed: number;
  readonly seconds: number;
}

/** The figures of one server that Schemathesis attacked, as the test in `tests/schemathesis/` writes them. */
export interface RequestFigures {
  readonly server: string;
  /** The number of generated requests. */
  readonly cases: number;
  readonly failures: number;
}

/** The figures of all attacks. */
export interface AttackResults {
  /** The tests in `tests/attacks/`. Some cases of the corpus are tested in two ways. */
  readonly attacks: { readonly tests: number; readonly failures: number };
  /** The number of cases of the corpus by subject. */
  readonly corpus: Readonly<Record<string, number>>;
  readonly fuzz: readonly FuzzFigures[];
  readonly fuzzFailures: number;
  readonly requests: readonly RequestFigures[];
}
