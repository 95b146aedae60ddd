/**
 * The settings of threads in which the benches try PyTorch. PyTorch has a pool of OpenMP threads, and its library of linear
 * algebra can have a second pool. No single setting is the fastest for every size of layer, so the benches that compare times try all of them.
 */

import type { TorchBuild } from "./torch_builds.ts";

export interface ThreadSetting {
  /** The name in tables, such as `OMP 1, BLAS 2`. */
  readonly title: string;
  /** The environment variables that make the setting. */
  readonly variables: Readonly<Record<string, string>>;
}

export interface TorchCandidate {
  readonly build: TorchBuild;
  readonly setting: ThreadSetting;
}

/**
 * Returns the settings for a machine with `cores` cores. On a single core there is only one.
 *
 * - `OMP n` gives n threads to OpenMP, and lets the library choose the number of its own threads.
 * - `OMP 1, BLAS n` gives all threads to the library, so that the two pools do not compete.
 * - `OMP n, BLAS n` gives threads to both pools. With `passive`, idle threads of OpenMP sleep at once.
 * - `OMP n, BLAS 1` multiplies matrices on one thread.
 * - `OMP 1, BLAS 1` uses one thread for everything, which is fastest where threads would wait longer than they compute.
 */
export function threadSettings(cores: number = navigator.hardwareConcurrency): ThreadSetting[] {
  const one = setting(1, 1);
  if (cores === 1) return [one];
  return [
    { title: `OMP ${cores}`, variables: { OMP_NUM_THREADS: String(cores) } },
    setting(1, cores),
    setting(cores, cores),
    withPassiveThreads(setting(cores, cores)),
    setting(cores, 1),
    one,
  ];
}

function setting(openMp: number, blas: number): ThreadSetting {
  return {
    title: `OMP ${openMp}, BLAS ${blas}`,
    variables: {
      OMP_NUM_THREADS: String(openMp),
      OPENBLAS_NUM_THREADS: String(blas),
      MKL_NUM_THREADS: String(blas),
    },
  };
}

function withPassiveThreads({ title, variables }: ThreadSetting): ThreadSetting {
  return { title: `${title}, passive`, variables: { ...variables, OMP_WAIT_POLICY: "PASSIVE" } };
}

export function torchCandidates(
  builds: readonly TorchBuild[],
  settings: readonly ThreadSetting[] = threadSettings(),
): TorchCandidate[] {
  return builds.flatMap((build) => settings.map((setting) => ({ build, setting })));
}

/** The name of a candidate in tables, such as `torch 2.6.0, OpenBLAS, OMP 2`. */
export function candidateTitle({ build, setting }: TorchCandidate): string {
  return `${build.title}, ${setting.title}`;
}
