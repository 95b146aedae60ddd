/**
 * A run on disk: the folder `.pare` inside the output, from the first layer until the result has its names. It says which run it is,
 * what of it is done, and holds the hidden states to go on from, so that the same run, started again after it was killed at
 * any moment, continues and ends in the same bytes. The pruned weights themselves are in the temporary files of
 * the copy beside it.
 *
 *     run.json       the fingerprint of the run
 *     journal.jsonl  what is done
 *     states-N.f32   the hidden states before block N
 *     dense/         the copy, where it is packed into the output at the end
 *     lock           held by the process at work
 */

import { z } from "zod";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { readJson } from "../../files/json_file.ts";
import { TEMPORARY_SUFFIX } from "../../files/write_atomically.ts";
import { StatesFolder } from "../../models/hidden_states/states_folder.ts";
import { differences, type Fingerprint } from "./fingerprint.ts";
import { Journal, type LayerEntry } from "./journal.ts";

const FOLDER = ".pare";
const RUN_FILE = "run.json";
const JOURNAL_FILE = "journal.jsonl";
const LOCK_FILE = "lock";
const DENSE_FOLDER = "dense";

const runSchema = z.object({ fingerprint: z.record(z.string(), z.string()) });

/** How a run is opened. */
export interface RunOptions {
  /** What its result depends on. */
  readonly fingerprint: Fingerprint;
  /** Forget what an earlier run left in the output, whichever it was. */
  readonly restart?: boolean;
}

/** An open run. Dispose of it in any case; `remove` it when its result is there, or nothing of it is worth keeping. */
export class Run implements AsyncDisposable {
  /** Where hidden states are kept. */
  readonly states: StatesFolder;

  private constructor(
    readonly fs: WorkFileSystem,
    readonly folder: string,
    /** Whether an earlier process began it. */
    readonly isTakenUp: boolean,
    readonly journal: Journal,
    readonly lock: AsyncDisposable,
  ) {
    this.states = new StatesFolder(fs, folder);
  }

  /**
   * Opens the run in `out`, or begins one there; the folder is made if need be.
   * @throws {Error} another process is at work on it, or it is another run: names what differs
   */
  static async open(fs: WorkFileSystem, out: string, { fingerprint, restart }: RunOptions): Promise<Run> {
    const folder = `${out}/${FOLDER}`;
    await fs.makeFolder(folder);
    const lock = await fs.lock(`${folder}/${LOCK_FILE}`);
    if (!lock) throw new Error(`${out}: another process is at work on the run there`);
    try {
      const isThere = (await fs.list(folder) ?? []).includes(RUN_FILE);
      const isTakenUp = isThere && !restart;
      if (isTakenUp) refuseOther(out, await readFingerprint(fs, folder), fingerprint);
      else {
        if (isThere) await removeTemporary(fs, out);
        await begin(fs, folder, fingerprint);
      }
      const journal = await Journal.open(`${folder}/${JOURNAL_FILE}`, fs);
      return new Run(fs, folder, isTakenUp, journal, lock);
    } catch (error) {
      await lock[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** For a dense copy that is not the result. */
  get denseFolder(): string {
    return `${this.folder}/${DENSE_FOLDER}`;
  }

  /** The layers that are done, in the order they were. */
  get layers(): LayerEntry[] {
    return this.journal.entries.filter((entry) => entry.type === "layer");
  }

  /** Whether all of the copy is on the disk and only the names are to be given. */
  get isComplete(): boolean {
    return this.journal.entries.some(({ type }) => type === "complete");
  }

  /** How often it was taken up. */
  get resumed(): number {
    return Math.max(0, this.journal.entries.filter(({ type }) => type === "start").length - 1);
  }

  /** Whether anything is done that would have to be done again. */
  async isWorthKeeping(): Promise<boolean> {
    return this.layers.length > 0 || (await this.states.lastBlock() ?? 0) > 0;
  }

  /** Removes all of it. */
  async remove(): Promise<void> {
    await this[Symbol.asyncDispose]();
    await this.fs.removeFolder(this.folder);
  }

  /** Lets go of the files and leaves them. Harmless twice. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.journal.close();
    await this.lock[Symbol.asyncDispose]();
  }
}

async function readFingerprint(fs: WorkFileSystem, folder: string): Promise<Fingerprint> {
  const parsed = runSchema.safeParse(await readJson(fs, `${folder}/${RUN_FILE}`));
  if (parsed.success) return parsed.data.fingerprint;
  throw new Error(`${folder}/${RUN_FILE}: is not a run's; start over with --restart`);
}

function refuseOther(out: string, before: Fingerprint, now: Fingerprint): void {
  const changed = differences(before, now);
  if (changed.length === 0) return;
  throw new Error(
    `${out}: holds an unfinished run, and it is another one: ${changed.join("; ")}. ` +
      "Repeat its command to finish it, start over with --restart, or write to another folder",
  );
}

async function removeTemporary(fs: WorkFileSystem, out: string): Promise<void> {
  for (const name of await fs.list(out) ?? []) {
    if (name.endsWith(TEMPORARY_SUFFIX)) await fs.remove(`${out}/${name}`);
  }
}

/** Clears the folder, and last says whose it is: until then there is no run in it. */
async function begin(fs: WorkFileSystem, folder: string, fingerprint: Fingerprint): Promise<void> {
  const path = `${folder}/${RUN_FILE}`;
  const files = await fs.list(folder) ?? [];
  // The run file goes first: a clearing that is cut short leaves no run.
  for (const name of files.toSorted((a, b) => Number(b === RUN_FILE) - Number(a === RUN_FILE))) {
    if (name !== LOCK_FILE) await fs.remove(`${folder}/${name}`);
  }
  await fs.removeFolder(`${folder}/${DENSE_FOLDER}`);
  const file = await fs.create(path + TEMPORARY_SUFFIX);
  try {
    await file.write(0, new TextEncoder().encode(JSON.stringify({ fingerprint }, undefined, 2)));
    await file.sync();
  } finally {
    await file.close();
  }
  await fs.rename(path + TEMPORARY_SUFFIX, path);
  await fs.syncFolder(folder);
}
