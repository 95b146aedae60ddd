/** What a kind of fault is, and how its outcomes are counted. */

export interface FaultKind {
  /** The name on the command line and in the results file. */
  readonly name: string;
  /** What happens, as it stands in the table. */
  readonly fault: string;
  /** What must be true afterwards. */
  readonly survival: string;
  /** Whether the kind starts other processes, which takes seconds per fault. */
  readonly processes: boolean;
  /** How often the fault happens in a full run of the task, and in the tests. Some kinds have a fixed number of moments instead. */
  readonly tries: { readonly full: number; readonly test: number };
  /** Causes the fault about `tries` times and counts the outcomes in `tally`. @param seed of all random choices */
  run(tries: number, tally: Tally, seed: number): Promise<void>;
}

export interface FaultCount {
  readonly tried: number;
  readonly survived: number;
  readonly lost: number;
  /** How often the fault hit each phase, for kinds that have phases. */
  readonly phases: Readonly<Record<string, number>>;
  /** One text per lost try. */
  readonly failures: readonly string[];
}

export class Tally {
  #survived = 0;
  readonly #phases: Record<string, number> = {};
  readonly #failures: string[] = [];

  get tried(): number {
    return this.#survived + this.#failures.length;
  }

  /** Runs one try. It has survived if `attempt` returns, and it is lost if `attempt` throws. */
  async attempt(what: string, attempt: () => Promise<unknown>): Promise<void> {
    try {
      await attempt();
      this.#survived++;
    } catch (error) {
      this.#failures.push(`${what}: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** Counts that a fault hit `phase`. */
  hit(phase: string): void {
    this.#phases[phase] = (this.#phases[phase] ?? 0) + 1;
  }

  /** Counts `tries` that all survived because the one result after them was right, or were all lost. */
  async attemptAll(what: string, tries: number, attempt: () => Promise<unknown>): Promise<void> {
    for (let i = 1; i < tries; i++) await this.attempt(what, () => Promise.resolve());
    const before = this.#failures.length;
    await this.attempt(what, attempt);
    if (this.#failures.length === before) return;
    this.#survived -= tries - 1;
    for (let i = 1; i < tries; i++) this.#failures.push(what);
  }

  count(): FaultCount {
    const { tried } = this;
    return {
      tried,
      survived: this.#survived,
      lost: this.#failures.length,
      phases: this.#phases,
      failures: this.#failures,
    };
  }
}

/** Throws an error with `message` unless `condition` holds. */
export function require(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}
