/**
 * Checks an unfinished run before it continues. Whatever does not have the bytes that an earlier process recorded is discarded, so
 * that the run repeats this work and still ends in the same bytes.
 */

import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { type CompleteCopy, findCompleteCopy } from "../../checkpoint/complete_copy.ts";
import { digestReplacements, removeLongFiles } from "../../checkpoint/copy_digests.ts";
import { DamagedFileError } from "../../files/damaged_file_error.ts";
import type { NamedLayer } from "../choose_layers.ts";
import type { LayerEntry } from "./journal.ts";
import type { PruneRun } from "./prune_run.ts";

/** The files that belong to a run. */
export interface RunFiles {
  readonly checkpoint: Checkpoint;
  /** The folder of the pruned dense copy. */
  readonly copyFolder: string;
  /** The names of the files that the run adds to the copy. */
  readonly extraFiles: readonly string[];
  /** The layers that the run prunes. */
  readonly layers: readonly Pick<NamedLayer, "name" | "block">[];
}

/** The usable state of a run that an earlier process left. */
export interface RepairedRun {
  /** The complete copy, of which only the names have to be changed. Undefined if work remains. */
  readonly complete: CompleteCopy | undefined;
  /** A sentence for each kind of damage. */
  readonly damage: readonly string[];
}

/** Checks the files of `run`, discards the damaged ones, and records in the journal which layers have to be pruned again. */
export async function repairRun(run: PruneRun, files: RunFiles): Promise<RepairedRun> {
  const { checkpoint, copyFolder } = files, damage: string[] = [];
  const { damagedLine } = run.journal;
  if (damagedLine !== undefined) {
    damage.push(
      `${run.folder}: line ${damagedLine} of the journal is damaged; it and all later lines are ignored`,
    );
  }
  const badCodes = await layersWithBadCodes(run);
  const complete = badCodes.length > 0 ? undefined : await findUndamagedCopy(run, files, damage);
  if (complete) return { complete, damage };
  for (const path of await removeLongFiles(checkpoint, copyFolder, run.fs)) {
    damage.push(`${path}: is longer than the weight file that it becomes; it was removed`);
  }
  const bad = new Set([...badCodes, ...await layersWithBadWeights(run, files)]);
  if (bad.size > 0 || run.completeFiles) {
    await run.journal.append({ type: "discard", layers: [...bad] });
    damage.push(`${copyFolder}: ${describeLayers([...bad])}, and will be pruned again`);
  }
  const lost = await run.states.removeDamaged((block) => isPrunedBefore(block, run, files));
  for (const path of lost) damage.push(`${path}: does not fit the journal; it will be computed again`);
  return { complete: undefined, damage };
}

/** Returns the complete copy. Returns undefined, and describes the damage, if a file of it is damaged. */
async function findUndamagedCopy(
  run: PruneRun,
  { checkpoint, copyFolder, extraFiles }: RunFiles,
  damage: string[],
): Promise<CompleteCopy | undefined> {
  const { completeFiles } = run;
  if (!completeFiles) return undefined;
  try {
    return await findCompleteCopy(checkpoint, copyFolder, run.fs, completeFiles, extraFiles);
  } catch (error) {
    if (!(error instanceof DamagedFileError)) throw error;
    damage.push(error.message);
    return undefined;
  }
}

/** Returns the names of the layers whose weights in the copy are missing or damaged. */
async function layersWithBadWeights(
  { fs, layers }: PruneRun,
  { checkpoint, copyFolder }: RunFiles,
): Promise<string[]> {
  const digests = await digestReplacements(checkpoint, copyFolder, fs, layers.map(({ name }) => name));
  return layers.filter(({ name, digest }) => digests.get(name) !== digest).map(({ name }) => name);
}

/** Returns the names of the quantised layers whose packed tensors are missing or damaged. */
async function layersWithBadCodes({ quantized, layers }: PruneRun): Promise<string[]> {
  const isBad = async ({ name, quantized: digest }: LayerEntry) =>
    digest !== undefined && !await quantized.has(name, digest);
  const bad: string[] = [];
  for (const layer of layers) if (await isBad(layer)) bad.push(layer.name);
  return bad;
}

/** Whether all layers of the blocks before `block` are pruned, which the hidden states before `block` depend on. */
function isPrunedBefore(block: number, run: PruneRun, { layers }: RunFiles): boolean {
  const pruned = new Set(run.layers.map(({ name }) => name));
  return layers.every((layer) => layer.block >= block || pruned.has(layer.name));
}

function describeLayers(names: readonly string[]): string {
  if (names.length === 0) return "its files are damaged";
  const [first, ...others] = names;
  return others.length === 0
    ? `${first} is damaged`
    : `${first} and ${others.length} other layers are damaged`;
}
