// The CPU twins of the kernels in shaders/select.wgsl. src/device/kernels/selection/select.ts describes the method and
// the buffers. Both are short scans, so each of them is one work item.

import { RankTiesArgs, SelectDigitArgs } from "./args";

const BINS: u32 = 256;
const HISTOGRAM_BYTES: usize = 1024;

export function select_digit_items(_args: SelectDigitArgs): u32 {
  return 1;
}

export function select_digit(args: SelectDigitArgs, _item: u32): void {
  const histogram = args.histogram, selection = args.selection, level = args.level;
  const threshold = level == 0 ? 0 : load<u32>(selection);
  const remaining = level == 0 ? args.k : load<u32>(selection, 4);
  store<u32>(selection, threshold);
  store<u32>(selection, remaining, 4);
  let below: u32 = 0; // the number of keys with a smaller digit
  for (let digit: u32 = 0; digit < BINS; digit++) {
    const reached = below + load<u32>(histogram + (<usize>digit << 2));
    if (below < remaining && remaining <= reached) {
      store<u32>(selection, threshold | (digit << (24 - 8 * level)));
      store<u32>(selection, remaining - below, 4);
    }
    below = reached;
  }
  memory.fill(histogram, 0, HISTOGRAM_BYTES);
}

export function rank_ties_items(args: RankTiesArgs): u32 {
  return args.rows > 0 ? 1 : 0;
}

export function rank_ties(args: RankTiesArgs, _item: u32): void {
  const selection = args.selection, rows = args.rows;
  let remaining = load<u32>(selection, 4);
  for (let r: u32 = 0; r < rows; r++) {
    const ties = selection + (<usize>(2 + r) << 2);
    const chosen = min<u32>(remaining, load<u32>(ties));
    store<u32>(ties, chosen);
    remaining -= chosen;
  }
}
