/** The results of the bench of the peers, as they are stored in `results/peers.json`. */

import type { ZeroCount } from "./count_zeros.ts";
import type { RunCost } from "./programs.ts";
import type { PeerRun } from "./runs.ts";

/** The measurements of one run. The times are medians over the repetitions, and the memory is the largest of them. */
export interface RunResult extends RunCost, ZeroCount {
  readonly run: PeerRun;
  readonly perplexity: number;
  /** How many weights outside the linear layers llm-compressor changed. They were restored. Absent for Pare. */
  readonly restored?: number;
}

/** The perplexity of one checkpoint by `pare eval` and by transformers. */
export interface PerplexityCheck {
  readonly checkpoint: string;
  readonly pare: number;
  readonly transformers: number;
}

/** The measurements of one model. */
export interface PeersResult {
  readonly name: string;
  readonly seqlen: number;
  readonly calibrationWindows: number;
  readonly evaluationWindows: number;
  /** The perplexity before compression. */
  readonly dense: number;
  readonly checks: readonly PerplexityCheck[];
  /** One entry for each run, in the order of the table. */
  readonly runs: readonly RunResult[];
}

/** The measurements of all models, and the settings that they share. */
export interface PeersResults {
  readonly repeat: number;
  /** The threads of OpenMP in the processes of Python. */
  readonly threads: number;
  /** The largest load average of the machine over one minute that was read after a run. It is about 2 if no other programs run. */
  readonly loadAverage: number;
  /** The versions of Python and of its libraries. */
  readonly versions: Readonly<Record<string, string>>;
  readonly models: readonly PeersResult[];
}

/** The largest allowed relative difference between the perplexities of `pare eval` and transformers. */
const TOLERANCE = 1e-3;

/** @throws {Error} if the two perplexities differ by more than 0.1 percent */
export function requireSamePerplexity({ checkpoint, pare, transformers }: PerplexityCheck): void {
  // Written as a negation, so that NaN is an error too.
  if (!(Math.abs(pare / transformers - 1) <= TOLERANCE)) {
    throw new Error(
      `${checkpoint}: pare eval measures a perplexity of ${pare}, but transformers measures ${transformers}`,
    );
  }
}
