import type { Reference } from "../kernel_reference.ts";
import { blockBits, blockOf, referenceColumnLoop, referenceGroupLoop, storeBlock } from "../column_loop.ts";

export const prune_block: Reference = (buffers, p) => {
  const { keys, selection } = buffers;
  const pruned = Uint8Array.from({ length: p.rows * p.size }, (_, i) => {
    const row = p.row0 + Math.floor(i / p.size), key = keys[p.row0 * p.size + i];
    if (key < selection[0]) return 1;
    if (key > selection[0] || selection[2 + row] === 0) return 0;
    selection[2 + row]--;
    return 1;
  });
  storeBlock(buffers, p, referenceColumnLoop(blockOf(buffers, p), pruned));
};

export const prune_block_n_m: Reference = (buffers, p) => {
  const forced = p.has_forced ? blockBits(buffers.forced, p) : undefined;
  storeBlock(buffers, p, referenceGroupLoop(blockOf(buffers, p), { keep: p.keep, group: p.group, forced }));
};
