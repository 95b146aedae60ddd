/**
 * Stores the state of a run of `pare prune` on the disk. The folder `.pare` inside the output folder exists
 * from the start of the run until the result is complete. If the process is killed at any moment, the same
 * command resumes the run and ends in the same bytes. The pruned weights themselves are not in this folder.
 * They are in temporary files in the output folder.
 *
 *     run.json       the fingerprint of the run
 *     journal.jsonl  the journal, with one line per finished layer
 *     states-N.f32   the hidden states before block N
 *     trained-N.bin  the tensors of the reconstructed block N, until they are in the new checkpoint
 *     allocation/    the hidden states of the forward pass that chooses the sparsity of each layer
 *     lock           locked by the process that works on the run
 */

import { z } from "zod";
import type { Digests } from "../../model/checkpoint/write/complete_copy.ts";
import type { WorkFileSystem } from "../../base/files/file_system.ts";
import {
  LOCK_FILE,
  lockFolder,
  readBytes,
  RUN_FOLDER,
  TEMPORARY_SUFFIX,
  writeAtomically,
} from "../../base/files/whole_file.ts";
import { HiddenStatesFolder } from "../../model/hidden_states/hidden_states_folder.ts";
import { tryParseJson } from "../../base/json.ts";
import type { BlockRun } from "../report/run_report.ts";
import { differences, OtherRunError, type RunFingerprint } from "./fingerprint.ts";
import {
  type AllocationEntry,
  Journal,
  type JournalEntry,
  type LayerEntry,
  type ReconstructionEntry,
  type StatesEntry,
} from "./journal.ts";

const RUN_FILE = "run.json";
const JOURNAL_FILE = "journal.jsonl";
const ALLOCATION_FOLDER = "allocation";

const runSchema = z.object({ fingerprint: z.record(z.string(), z.string()) });

export interface RunOptions {
  /** Everything that the bytes of the result depend on. */
  readonly fingerprint: RunFingerprint;
  /** Whether to discard an unfinished run in the output folder, even if it has another fingerprint. */
  readonly restart?: boolean;
}

/**
 * An open run. The caller must always dispose of the run. If the result is complete, or if there is no
 * progress worth resuming, the caller first calls `remove`.
 */
export class PruneRun implements AsyncDisposable {
  /** Where the hidden states of the run are stored. */
  readonly states: HiddenStatesFolder;

  private constructor(
    readonly fs: WorkFileSystem,
    readonly folder: string,
    /** Whether an earlier process started this run. */
    readonly isResumed: boolean,
    readonly journal: Journal,
    readonly lock: AsyncDisposable,
  ) {
    this.states = new HiddenStatesFolder(fs, folder, {
      get: (block) => journal.entries.findLast((entry) => isStates(entry, block))?.checksum,
      set: (block, checksum) => journal.append({ type: "states", block, checksum }),
    });
  }

  /**
   * Opens the unfinished run in the folder `out`, or creates a new one. Creates `out` if it does not exist.
   * @throws {InUseError} if another process works on the run
   * @throws {OtherRunError} if the unfinished run has another fingerprint; the message names the differences
   */
  static async open(
    fs: WorkFileSystem,
    out: string,
    { fingerprint, restart }: RunOptions,
  ): Promise<PruneRun> {
    const folder = `${out}/${RUN_FOLDER}`;
    const lock = await lockFolder(fs, out);
    try {
      const exists = (await fs.list(folder) ?? []).includes(RUN_FILE);
      const isResumed = exists && !restart;
      if (isResumed) requireSameRun(out, await readFingerprint(fs, folder), fingerprint);
      else {
        if (exists) await removeTemporaryFiles(fs, out);
        await createRun(fs, folder, fingerprint);
      }
      const journal = await Journal.open(`${folder}/${JOURNAL_FILE}`, fs);
      return new PruneRun(fs, folder, isResumed, journal, lock);
    } catch (error) {
      await lock[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Whether the folder `out` has an unfinished run. */
  static async exists(fs: WorkFileSystem, out: string): Promise<boolean> {
    return (await fs.list(`${out}/${RUN_FOLDER}`) ?? []).includes(RUN_FILE);
  }

  /** The fingerprint of the unfinished run in the folder `out`. Undefined if there is no such run. */
  static async fingerprint(fs: WorkFileSystem, out: string): Promise<RunFingerprint | undefined> {
    return await PruneRun.exists(fs, out) ? await readFingerprint(fs, `${out}/${RUN_FOLDER}`) : undefined;
  }

  /** The sparsity of each layer. Undefined if it has not been chosen, or if every layer has the sparsity of the run. */
  get allocation(): AllocationEntry | undefined {
    return this.journal.entries.find((entry) => entry.type === "allocation");
  }

  /** The layers that are done, in the order in which they were recorded. */
  get layers(): LayerEntry[] {
    const layers = new Map<string, LayerEntry>();
    for (const entry of this.journal.entries) {
      if (entry.type === "layer") layers.set(entry.name, entry);
      if (entry.type === "discard") { for (const name of entry.layers) layers.delete(name); }
    }
    return [...layers.values()];
  }

  /** The reconstructions of the blocks, in the order in which they were recorded. */
  get reconstructions(): ReconstructionEntry[] {
    const blocks = new Map<number, ReconstructionEntry>(), blockOf = new Map<string, number>();
    for (const entry of this.journal.entries) {
      if (entry.type === "layer") blockOf.set(entry.name, entry.block);
      if (entry.type === "reconstruction") blocks.set(entry.block, entry);
      if (entry.type === "discard") { for (const name of entry.layers) blocks.delete(blockOf.get(name)!); }
    }
    return [...blocks.values()];
  }

  /** The pruned blocks as the report has them, in the order of the model. */
  get blocks(): BlockRun[] {
    const blocks = new Map<number, BlockRun>();
    for (const { block, epochs, before, after, kept_epoch } of this.reconstructions) {
      blocks.set(block, { block, reconstruction: { epochs, before, after, kept_epoch } });
    }
    for (const entry of this.journal.entries) {
      if (entry.type === "targets") {
        const { block, kept, error_with, error_without } = entry;
        blocks.set(block, { ...blocks.get(block), block, targets: { kept, error_with, error_without } });
      }
      if (entry.type !== "block") continue;
      const { block, error } = entry;
      blocks.set(block, { ...blocks.get(block), block, error });
    }
    return [...blocks.values()].toSorted((a, b) => a.block - b.block);
  }

  /** The digests of the tensors in which the layers and the trained parameters are stored, by name. */
  get replaced(): Digests {
    return new Map(
      [...this.layers, ...this.reconstructions].flatMap(({ digests }) => Object.entries(digests)),
    );
  }

  /**
   * The digests of the files of the copy, by final name, if all of them are on the disk, so that only their temporary names have to
   * be changed. Undefined if the copy is not complete.
   */
  get completeFiles(): Digests | undefined {
    const last = this.journal.entries.at(-1);
    return last?.type === "complete" ? new Map(Object.entries(last.files)) : undefined;
  }

  /** How many times the run was resumed. */
  get resumeCount(): number {
    return Math.max(0, this.journal.entries.filter(({ type }) => type === "start").length - 1);
  }

  /** Whether any work is done that a new run would have to repeat. */
  async hasProgress(): Promise<boolean> {
    return this.layers.length > 0 || this.allocation !== undefined ||
      (await this.states.lastBlock() ?? 0) > 0;
  }

  /** Calls `work` with an empty folder for the hidden states of another forward pass, and removes the folder at the end. */
  async withTemporaryStates<T>(work: (states: HiddenStatesFolder) => Promise<T>): Promise<T> {
    const folder = `${this.folder}/${ALLOCATION_FOLDER}`;
    await this.fs.removeFolder(folder); // a killed process may have left states in it
    await this.fs.makeFolder(folder);
    try {
      return await work(new HiddenStatesFolder(this.fs, folder));
    } finally {
      await this.fs.removeFolder(folder);
    }
  }

  /** Closes the run and removes its folder. */
  async remove(): Promise<void> {
    await this[Symbol.asyncDispose]();
    await this.fs.removeFolder(this.folder);
  }

  /** Closes the files and releases the lock. The files stay on the disk. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.journal.close();
    await this.lock[Symbol.asyncDispose]();
  }
}

function isStates(entry: JournalEntry, block: number): entry is StatesEntry {
  return entry.type === "states" && entry.block === block;
}

async function readFingerprint(fs: WorkFileSystem, folder: string): Promise<RunFingerprint> {
  const text = new TextDecoder().decode(await readBytes(fs, `${folder}/${RUN_FILE}`));
  const parsed = runSchema.safeParse(tryParseJson(text));
  if (parsed.success) return parsed.data.fingerprint;
  throw new OtherRunError(`${folder}/${RUN_FILE}: is not the file of a run; start over with --restart`);
}

function requireSameRun(out: string, previous: RunFingerprint, current: RunFingerprint): void {
  const changes = differences(previous, current);
  if (changes.length === 0) return;
  throw new OtherRunError(
    `${out}: has an unfinished run that differs from this one: ${changes.join("; ")}. ` +
      "Repeat the command of the unfinished run, add --restart to start over, or write to another folder",
  );
}

async function removeTemporaryFiles(fs: WorkFileSystem, out: string): Promise<void> {
  for (const name of await fs.list(out) ?? []) {
    if (name.endsWith(TEMPORARY_SUFFIX)) await fs.remove(`${out}/${name}`);
  }
}

/** Empties the run's folder and then writes the fingerprint. The folder contains no run until the fingerprint is written. */
async function createRun(fs: WorkFileSystem, folder: string, fingerprint: RunFingerprint): Promise<void> {
  const files = await fs.list(folder) ?? [];
  // The old fingerprint is removed first. If the process is killed before the rest is removed, the folder contains no run.
  for (const name of files.toSorted((a, b) => Number(b === RUN_FILE) - Number(a === RUN_FILE))) {
    if (name !== LOCK_FILE) await fs.remove(`${folder}/${name}`);
  }
  await fs.removeFolder(`${folder}/${ALLOCATION_FOLDER}`);
  const json = JSON.stringify({ fingerprint }, undefined, 2);
  await writeAtomically(fs, `${folder}/${RUN_FILE}`, new TextEncoder().encode(json));
  await fs.syncFolder(folder);
}
