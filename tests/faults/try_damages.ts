/**
 * Damages unfinished runs of `pare prune` in random ways, repeats the command after each damage, and compares the result with that
 * of an undamaged run. A command may refuse a damaged run with a clear error. It must never end with other bytes.
 */

import { failureOf } from "../../src/cli/terminal/exit.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { messageOf } from "../../src/base/errors.ts";
import type { WorkFileSystem } from "../../src/base/files/file_system.ts";
import { assertSame } from "../support/assert_same.ts";
import { killedAfter } from "../support/failing_file_system.ts";
import { readFolder } from "../support/temporary_folder.ts";
import { damageRun } from "./damage.ts";
import { FORMATS, type RunFormat, TinyJob } from "./tiny_job.ts";

/** The number of changes of files after which prepared runs are stopped, for each format, spread over the whole run. */
const STOPS_PER_FORMAT = 12;

const done = () => Promise.resolve();
/** The file system without flushes to the disk, because no power failure is simulated. */
const FAST: WorkFileSystem = {
  ...denoFileSystem,
  create: async (...args) => Object.assign(await denoFileSystem.create(...args), { sync: done }),
  edit: async (path) => Object.assign(await denoFileSystem.edit(path), { sync: done }),
  syncFolder: done,
};

/** Counts what happened after the damages of one kind, or of all kinds. */
export interface DamageCounts {
  tried: number;
  /** The command failed with a clear error, and published nothing. */
  refused: number;
  /** The command noticed the damage and ended in the right bytes. */
  repaired: number;
  /** The command ended in the right bytes without a remark, because the damaged bytes are not needed or are written again. */
  unaffected: number;
  /** The command ended in other bytes. */
  wrong: number;
  /** The command failed with an error that counts as a defect. */
  defects: number;
}

export interface DamageResults {
  readonly firstSeed: number;
  readonly total: DamageCounts;
  readonly kinds: Readonly<Record<string, DamageCounts>>;
  /** Describes each damage that ended in wrong bytes or in a defect, with its seed. */
  readonly failures: readonly string[];
}

/** An unfinished run, and the bytes in which it must end. */
interface PreparedRun {
  readonly folder: string;
  readonly format: RunFormat;
  readonly expected: ReadonlyMap<string, Uint8Array>;
}

/** Tries `count` damages, with the seeds from `firstSeed` on. */
export async function tryDamages(count: number, firstSeed: number): Promise<DamageResults> {
  await using job = await TinyJob.make();
  const runs = await prepareRuns(job), total = noCounts(), failures: string[] = [];
  const kinds: Record<string, DamageCounts> = {};
  for (let i = 0; i < count; i++) {
    const seed = firstSeed + i, prepared = runs[i % runs.length];
    const { kind, outcome, description } = await tryDamage(job, prepared, `${job.folder}/damaged`, seed);
    for (const counts of [total, kinds[kind] ??= noCounts()]) {
      counts.tried++;
      counts[outcome]++;
    }
    if (outcome === "wrong" || outcome === "defects") failures.push(`seed ${seed}: ${description}`);
  }
  return { firstSeed, total, kinds, failures };
}

function noCounts(): DamageCounts {
  return { tried: 0, refused: 0, repaired: 0, unaffected: 0, wrong: 0, defects: 0 };
}

/** Stops runs of every format after different numbers of changes of files. */
async function prepareRuns(job: TinyJob): Promise<PreparedRun[]> {
  const runs: PreparedRun[] = [], { folder } = job;
  for (const format of FORMATS) {
    const whole = `${folder}/whole-${format}`, counting = killedAfter(FAST, Infinity);
    await job.run(whole, { format, fs: counting });
    const expected = await readFolder(whole), changes = counting.count();
    for (let i = 1; i <= STOPS_PER_FORMAT; i++) {
      const stop = Math.floor(changes * i / (STOPS_PER_FORMAT + 1)),
        unfinished = `${folder}/${format}-${stop}`;
      await job.run(unfinished, { format, fs: killedAfter(FAST, stop) }).catch(() => {});
      const isUnfinished = (await denoFileSystem.list(`${unfinished}/.pare`))?.includes("run.json");
      if (isUnfinished) runs.push({ folder: unfinished, format, expected });
    }
  }
  return runs;
}

async function tryDamage(
  job: TinyJob,
  { folder, format, expected }: PreparedRun,
  out: string,
  seed: number,
): Promise<{ kind: string; outcome: Exclude<keyof DamageCounts, "tried">; description: string }> {
  await copyFolder(folder, out);
  try {
    const { kind, description } = await damageRun(out, seed);
    const remarks: string[] = [];
    try {
      await job.run(out, { format, fs: FAST, onDamage: (remark) => remarks.push(remark) });
    } catch (error) {
      const { kind: failure, message } = failureOf(error);
      const isClear = failure !== "defect" && message.includes(out);
      return { kind, outcome: isClear ? "refused" : "defects", description: `${description}: ${message}` };
    }
    try {
      assertSame(await readFolder(out), expected, "files");
    } catch (error) {
      return { kind, outcome: "wrong", description: `${description}: ${messageOf(error)}` };
    }
    return { kind, outcome: remarks.length > 0 ? "repaired" : "unaffected", description };
  } finally {
    await Deno.remove(out, { recursive: true });
  }
}

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}
