import type { Contents, Reference } from "../kernel_reference.ts";

/** The values of the lowest bit of the digits of 11, 11 and 10 bits. */
const DIGIT_PLACES = [2 ** 21, 2 ** 10, 1];

/** Finds the digit of the threshold at `level`, as `finish_selection` and `refine_histogram` do. */
function searchDigits(digits: Contents[string], level: number, known: number, wanted: number) {
  if (wanted === 0) return { threshold: known, wanted: 0, ties: 0 };
  let digit = 0, smaller = 0;
  while (smaller + digits[2048 * level + digit] < wanted) smaller += digits[2048 * level + digit++];
  return {
    threshold: known + digit * DIGIT_PLACES[level],
    wanted: wanted - smaller,
    ties: digits[2048 * level + digit],
  };
}

export const refine_histogram: Reference = ({ keys, digits }, p) => {
  const earlier = 3 * 2048 + 2 * (p.level - 2);
  const [known, wanted] = p.level === 1 ? [0, p.k] : digits.subarray(earlier, earlier + 2);
  const found = searchDigits(digits, p.level - 1, known, wanted);
  digits.set([found.threshold, found.wanted], 3 * 2048 + 2 * (p.level - 1));
  const place = DIGIT_PLACES[p.level - 1];
  for (const key of keys.subarray(0, p.count)) {
    if (Math.floor(key / place) !== Math.floor(found.threshold / place)) continue;
    digits[2048 * p.level + Math.floor(key % place / DIGIT_PLACES[p.level])]++;
  }
};

export const finish_selection: Reference = ({ keys, digits, selection }, p) => {
  const { threshold, wanted, ties } = searchDigits(digits, 2, digits[3 * 2048 + 2], digits[3 * 2048 + 3]);
  digits.fill(0, 0, 3 * 2048);
  const isRanked = wanted < ties;
  selection.set([isRanked || ties === 0 ? threshold : threshold + 1, isRanked ? wanted : 0]);
  let remaining = isRanked ? wanted : 0;
  for (let r = 0; r < p.rows; r++) {
    const inRow = keys.subarray(r * p.cols, (r + 1) * p.cols).filter((key) => key === threshold).length;
    remaining -= selection[2 + r] = Math.min(remaining, inRow);
  }
};
