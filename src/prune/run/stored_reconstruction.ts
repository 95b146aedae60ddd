/**
 * Stores the trained tensors of a reconstructed block, which replace pruned weights that the journal records, and other tensors. First the
 * tensors are written to a file of their own, then their digests to the journal, and then they are copied into the new checkpoint. A process
 * that continues after a kill between these steps either finds no line in the journal and reconstructs the block again, or repeats the copy.
 */

import { digestBytes } from "../../base/files/chunks.ts";
import { readBytes, writeAtomically } from "../../base/files/whole_file.ts";
import { type OpenCopy, openCopy } from "../../model/checkpoint/write/open_copy.ts";
import { tensorFiles, type WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import { tensorBytes } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { ReconstructedBlock } from "../../protocol/blocks/solved_block.ts";
import { finiteOrNull, type ReconstructionEntry } from "./journal.ts";
import type { PruneRun } from "./prune_run.ts";

/** Stores the tensors of a block in `copy`, and records the reconstruction. */
export async function storeReconstruction(
  run: PruneRun,
  copy: OpenCopy,
  block: number,
  { epochs, before, after, keptEpoch, seconds, tensors }: ReconstructedBlock,
): Promise<void> {
  const path = pathOf(run, block);
  if (tensors.size > 0) {
    await writeAtomically(run.fs, path, ...[...tensors.values()].map(({ data }) => data));
    await run.fs.syncFolder(run.folder);
  }
  await run.journal.append({
    type: "reconstruction",
    block,
    epochs,
    before: finiteOrNull(before),
    after: finiteOrNull(after),
    kept_epoch: keptEpoch,
    seconds,
    digests: Object.fromEntries([...tensors].map(([name, { data }]) => [name, digestBytes(data)])),
  });
  if (tensors.size === 0) return;
  await replaceTensors(copy, tensors);
  await run.fs.remove(path);
}

/** Repeats the copy of the last reconstructed block, if an earlier process may not have finished it. */
export async function finishReconstruction(run: PruneRun, plan: WritePlan, out: string): Promise<void> {
  const last = run.reconstructions.at(-1);
  if (!last || !(await run.fs.list(run.folder) ?? []).includes(fileName(last.block))) return;
  const path = pathOf(run, last.block), tensors = readTensors(await readBytes(run.fs, path), last, plan);
  if (tensors) {
    const copy = await openCopy(plan, out, run.fs, { replaced: run.replaced });
    try {
      await replaceTensors(copy, tensors);
    } finally {
      await copy.close();
    }
  }
  await run.fs.remove(path);
}

/** Divides the bytes of the file into the tensors of the block. Returns undefined if one of them does not have its digest. */
function readTensors(
  bytes: Uint8Array<ArrayBuffer>,
  { digests }: ReconstructionEntry,
  plan: WritePlan,
): ReadonlyMap<string, HostTensor> | undefined {
  const tensors = new Map<string, HostTensor>();
  const infos = new Map(
    tensorFiles(plan).flatMap(({ header }) => header.tensors.map((info) => [info.name, info] as const)),
  );
  let begin = 0;
  for (const [name, digest] of Object.entries(digests)) {
    const { dtype, shape } = infos.get(name)!, end = begin + tensorBytes(dtype, shape);
    const data = bytes.subarray(begin, end);
    if (digestBytes(data) !== digest) return undefined;
    tensors.set(name, { dtype, shape, data });
    begin = end;
  }
  return tensors;
}

async function replaceTensors(copy: OpenCopy, tensors: ReadonlyMap<string, HostTensor>): Promise<void> {
  for (const [name, tensor] of tensors) await copy.replace(name, tensor);
  await copy.sync(...tensors.keys());
}

function pathOf(run: PruneRun, block: number): string {
  return `${run.folder}/${fileName(block)}`;
}

function fileName(block: number): string {
  return `trained-${block}.bin`;
}
