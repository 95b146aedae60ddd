/** SIGKILL of `pare prune` at random moments. */

import { uniform } from "../../../scripts/fixtures/random.ts";
import { sleep } from "../../../src/base/waiting.ts";
import { type FaultKind, require } from "../fault_kind.ts";
import { requireSameFiles } from "../same_files.ts";
import { makeTinyRun, type RunningPrune, sendSignal, type TinyRun } from "../tiny_run.ts";

/** A run is killed this often before it may end. */
const KILLS_PER_RUN = 5;
const PARALLEL_RUNS = 2;
/** The fraction of kills that may come before the run has printed its first line. */
const EARLY = 0.2;

/** SIGKILL of `pare prune` at random moments. After several kills, the same command must end in the right bytes. */
export const sigkillPrune: FaultKind = {
  name: "sigkill_prune",
  fault: "SIGKILL of `pare prune` at a random moment",
  survival: "The same command continues and ends in the same bytes.",
  processes: true,
  tries: { full: 100, test: 4 },
  async run(tries, tally, seed) {
    await using tiny = await makeTinyRun();
    const random = uniform(seed);
    let index = 0, remaining = tries;
    const worker = async () => {
      while (remaining > 0) {
        const kills = Math.min(KILLS_PER_RUN, remaining), out = `${tiny.folder}/killed-${index++}`;
        remaining -= kills;
        let killed = 0;
        while (killed < kills) {
          const phase = await killOnce(tiny, out, random);
          if (phase === undefined) { // the run ended before the kill
            await Deno.remove(out, { recursive: true });
            continue;
          }
          tally.hit(phase);
          killed++;
        }
        await tally.attemptAll(out, kills, async () => {
          const { code, stderr } = await tiny.start(out).ended;
          require(code === 0, `ended with ${code}: ${stderr}`);
          await requireSameFiles(out, tiny.expected);
        });
        await Deno.remove(out, { recursive: true }).catch(() => {});
      }
    };
    await Promise.all(Array.from({ length: PARALLEL_RUNS }, worker));
  },
};

/** Starts the run and kills it. Returns the phase in which it was, or undefined if it had ended. */
async function killOnce(tiny: TinyRun, out: string, random: () => number): Promise<string | undefined> {
  const run = tiny.start(out);
  if (random() < EARLY) await sleep(random() * tiny.milliseconds);
  else {
    while (run.printed() === "" && !await hasEnded(run, 5)) { /* waits */ }
    const layers = Math.floor(random() * 26);
    while (layersOf(run) < layers && !await hasEnded(run, 1)) { /* waits */ }
    await sleep(random() * 10);
  }
  sendSignal(run, "SIGKILL");
  const { signal, stderr, code } = await run.ended;
  if (signal === null) {
    require(code === 0, `ended by itself with ${code}: ${stderr}`);
    return undefined;
  }
  return phaseOf(stderr);
}

/** Waits, and returns whether the process has ended. */
export async function hasEnded({ ended }: RunningPrune, milliseconds: number): Promise<boolean> {
  return await Promise.race([ended.then(() => true), sleep(milliseconds).then(() => false)]);
}

/** The number of layers that a run has reported as pruned. */
export function layersOf({ printed }: RunningPrune): number {
  return Number([...printed().matchAll(/^pruning (\d+)\/24/gm)].at(-1)?.[1] ?? 0);
}

/** The phase in which a run was, judged by what it has printed. */
export function phaseOf(stderr: string): string {
  const layers = Number([...stderr.matchAll(/^pruning (\d+)\/24/gm)].at(-1)?.[1] ?? -1);
  if (layers < 0) return "loading";
  return layers < 24 ? "pruning" : "completing";
}
