import { type Reference, setBit } from "../kernel_reference.ts";
import { addToHistogram, isForced, keysOf, referenceSelection, scoreOf } from "../selection.ts";

export const score_histogram: Reference = (buffers, p) => {
  const { selection, histogram } = buffers;
  for (let r = 0; r < p.rows; r++) addToHistogram(histogram, keysOf(buffers, p, r), selection[0], p.level);
};

export const count_score_ties: Reference = (buffers, p) => {
  const { selection } = buffers;
  for (let r = 0; r < p.rows; r++) {
    selection[2 + p.row0 + r] += keysOf(buffers, p, r).filter((key) => key === selection[0]).length;
  }
};

export const choose_entries: Reference = (buffers, p) => {
  const { selection, mask } = buffers;
  for (let r = 0; r < p.rows; r++) {
    keysOf(buffers, p, r).forEach((key, c) => {
      const isTie = key === selection[0] && selection[2 + p.row0 + r] > 0;
      if (isTie) selection[2 + p.row0 + r]--;
      if (key >= selection[0] && !isTie) setBit(mask, p.words, p.row0 + r, p.first + c, true);
    });
  }
};

export const choose_in_groups: Reference = (buffers, p) => {
  for (let r = 0; r < p.rows; r++) {
    for (let start = 0; start < p.cols; start += p.group) {
      const size = Math.min(p.group, p.cols - start);
      const flags = Array.from({ length: size }, (_, i) => isForced(buffers, p, r, start + i));
      const scores = flags.map((_, i) => scoreOf(buffers, p, r, start + i));
      const count = Math.max(size - Math.ceil(p.keep * size / p.group), flags.filter(Boolean).length);
      referenceSelection(scores, count, (i) => flags[i]).forEach((isPruned, i) => {
        if (!isPruned) setBit(buffers.mask, p.words, p.row0 + r, p.first + start + i, true);
      });
    }
  }
};
