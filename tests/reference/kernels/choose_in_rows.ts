import { eachElement, type Reference, setBit } from "../kernel_reference.ts";
import { isForced, referenceSelection, scoreOf } from "../selection.ts";

export const choose_in_rows: Reference = (buffers, p) => {
  for (let r = 0; r < p.rows; r++) {
    const flags = Array.from({ length: p.cols }, (_, c) => isForced(buffers, p, r, c));
    const scores = flags.map((_, c) => scoreOf(buffers, p, r, c));
    const count = Math.max(buffers.counts[p.row0 + r], flags.filter(Boolean).length);
    const pruned = referenceSelection(scores, count, (c) => flags[c]);
    eachElement(
      1,
      32 * p.words,
      (_, c) => setBit(buffers.mask, p.words, p.row0 + r, c, c < p.cols && !pruned[c]),
    );
  }
};
