/** The results of the bench `peers`, and the comparison of a run of Pare with the run of llm-compressor that does the same work. */

import type { TorchBuild } from "../torch/torch_builds.ts";
import type { Trial } from "../torch/choose_fastest.ts";
import type { ZeroCount } from "./count_zeros.ts";
import type { RunCost } from "./programs.ts";
import type { PeerRun } from "./runs.ts";

/** The measurements of one run. The times are medians over the repetitions. The memory is the maximum over the repetitions. */
export interface RunResult extends RunCost, ZeroCount {
  readonly run: PeerRun;
  /** How Pare chose what multiplies matrices. Absent for llm-compressor. */
  readonly way?: "own kernels" | "default";
  /** The library that multiplied matrices for Pare. Absent if Pare's own kernels did, and for llm-compressor. */
  readonly library?: string;
  readonly perplexity: number;
  /**
   * The number of weight tensors outside the blocks that llm-compressor changed. They were restored
   * before the perplexity was measured. Absent for Pare.
   */
  readonly restored?: number;
}

export interface PeersResult {
  readonly name: string;
  readonly seqlen: number;
  readonly calibrationWindows: number;
  readonly evaluationWindows: number;
  readonly dense: number;
  readonly runs: readonly RunResult[];
  /** The setting of threads of llm-compressor. It was the fastest one in the trials. */
  readonly setting?: string;
  /** The short runs that chose the setting. Their times are those of calibrating and solving. */
  readonly trials?: readonly Trial[];
}

/** The measurements of all models, and the settings that they share. */
export interface PeersResults {
  readonly repeat: number;
  /** The build of PyTorch that llm-compressor ran with. */
  readonly build?: TorchBuild;
  /**
   * The largest one-minute load average of the machine. It was read after every run. With two threads it is
   * about 2 if no other programs run.
   */
  readonly loadAverage: number;
  /** The versions of Python and of the libraries that llm-compressor runs with. */
  readonly versions: Readonly<Record<string, string>>;
  readonly models: readonly PeersResult[];
}

/** A run of Pare beside llm-compressor's run with the same work. */
interface PeerComparison {
  /** llm-compressor's time of calibrating and solving divided by Pare's. */
  readonly speedup: number;
  /** The same with the times of the whole processes. */
  readonly processSpeedup: number;
  /** Pare's peak memory divided by llm-compressor's. */
  readonly memoryShare: number;
}

/** Compares a run of Pare with llm-compressor's run with the same work. Returns undefined if there is no such run. */
export function compareWithPeer(
  { runs }: Pick<PeersResult, "runs">,
  { run, compressSeconds, processSeconds, peakBytes }: RunResult,
): PeerComparison | undefined {
  if (run.program !== "Pare" || run.counterpart === undefined) return undefined;
  const peer = runs.find(({ run: other }) =>
    other.program === "llm-compressor" && other.recipe === run.counterpart
  );
  return peer && {
    speedup: peer.compressSeconds / compressSeconds,
    processSpeedup: peer.processSeconds / processSeconds,
    memoryShare: peakBytes / peer.peakBytes,
  };
}
