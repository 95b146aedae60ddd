/**
 * Checks an unfinished run before it continues. Whatever does not have the bytes that an earlier process recorded is discarded, so
 * that the run repeats this work and still ends in the same bytes.
 */

import {
  type CompleteCopy,
  digestTensors,
  findCompleteCopy,
  removeLongFiles,
} from "../../model/checkpoint/write/complete_copy.ts";
import type { WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import { DamagedFileError } from "../../base/files/file_error.ts";
import type { NamedLayer } from "../choose_layers.ts";
import type { LayerEntry } from "./journal.ts";
import type { PruneRun } from "./prune_run.ts";

export interface RunFiles {
  readonly plan: WritePlan;
  readonly out: string;
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
  const { plan, out } = files, damage: string[] = [];
  const { damagedLine } = run.journal;
  if (damagedLine !== undefined) {
    damage.push(
      `${run.folder}: line ${damagedLine} of the journal is damaged; it and all later lines are ignored`,
    );
  }
  const complete = await findUndamagedCopy(run, files, damage);
  if (complete) return { complete, damage };
  for (const path of await removeLongFiles(plan, out, run.fs)) {
    damage.push(`${path}: is longer than the weight file that it becomes; it was removed`);
  }
  const bad = await layersWithBadTensors(run, files);
  if (bad.length > 0 || run.completeFiles) {
    await run.journal.append({ type: "discard", layers: bad });
    damage.push(`${out}: ${describeLayers(bad)}, and will be pruned again`);
  }
  const lost = await run.states.removeDamaged((block) => isPrunedBefore(block, run, files));
  for (const path of lost) damage.push(`${path}: does not fit the journal; it will be computed again`);
  return { complete: undefined, damage };
}

/** Returns the copy if an earlier process completed it and no file of it is damaged. Adds the damage of a file to `damage`. */
async function findUndamagedCopy(
  run: PruneRun,
  { plan, out, extraFiles }: RunFiles,
  damage: string[],
): Promise<CompleteCopy | undefined> {
  const { completeFiles } = run;
  if (!completeFiles) return undefined;
  try {
    return await findCompleteCopy(plan, out, run.fs, completeFiles, extraFiles);
  } catch (error) {
    if (!(error instanceof DamagedFileError)) throw error;
    damage.push(error.message);
    return undefined;
  }
}

/**
 * Returns the names of the layers of which a tensor in the copy is missing or damaged. If it is a trained tensor of a reconstructed block,
 * all layers of the block are, because the reconstruction starts from their weights before it.
 */
async function layersWithBadTensors(run: PruneRun, { plan, out }: RunFiles): Promise<string[]> {
  const { replaced } = run, found = await digestTensors(plan, out, run.fs, replaced.keys());
  const isBad = (name: string) => found.get(name) !== replaced.get(name);
  const hasBad = ({ digests }: Pick<LayerEntry, "digests">) => Object.keys(digests).some(isBad);
  const blocks = new Set(run.reconstructions.filter(hasBad).map(({ block }) => block));
  return run.layers.filter((layer) => blocks.has(layer.block) || hasBad(layer)).map(({ name }) => name);
}

/** Whether all layers of the blocks before `block` are pruned. The hidden states before `block` depend on these layers. */
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
