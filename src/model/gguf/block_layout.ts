/** Packs and reads blocks of GGUF by tables that say where a block has the bits of its numbers. */

/** The place of some bits of a number: the byte in the block, the lowest bit in the byte, and the number of bits. */
export type Bits = readonly [byte: number, shift: number, width: number];

/** The places of a list of numbers in a block. */
export interface Places {
  /** The number of the list's numbers. */
  readonly count: number;
  /** Five entries for each place: the index of the number, its lowest bit at this place, the byte, the shift and the mask. */
  readonly steps: Uint16Array;
  /** The bits that are stored inverted. */
  readonly inverted: number;
}

/** @param at returns the places of the bits of number `index`, the lowest bits first */
export function places(count: number, at: (index: number) => readonly Bits[], inverted = 0): Places {
  const steps = Array.from({ length: count }, (_, index) => {
    let first = 0;
    return at(index).map(([byte, shift, width]) => {
      const step = [index, first, byte, shift, (1 << width) - 1];
      first += width;
      return step;
    });
  });
  return { count, steps: Uint16Array.from(steps.flat(2)), inverted };
}

/** The content of a block, as `ggml-common.h` in github.com/ggml-org/llama.cpp defines it. */
export interface BlockLayout {
  /** The bits of a code. */
  readonly bits: number;
  readonly blockBytes: number;
  /** The byte of the factor d, in F16. In a type with minimums, the factor of the minimums follows, which is 2^(bits − 1)·d. */
  readonly factorAt: number;
  readonly codes: Places;
  /** The integers n of the groups. Absent if the block is one group. */
  readonly scales?: Places;
  /** The integers m of the groups. Absent if the type has no minimums. */
  readonly minimums?: Places;
}

/** The numbers of a block. The lists are filled again for each block. */
export interface Block {
  /** d */
  factor: number;
  /** The codes, from 0 to 2^bits − 1. */
  readonly codes: Uint8Array;
  /** n of each group, as it is stored: a negative n plus 2 to the power of its bits. */
  readonly scales: Uint8Array;
  /** m of each group. */
  readonly minimums: Uint8Array;
}

export function newBlock({ codes, scales, minimums }: BlockLayout): Block {
  const list = (places?: Places) => new Uint8Array(places?.count ?? 0);
  return { factor: 0, codes: list(codes), scales: list(scales), minimums: list(minimums) };
}

/** Packs `count` blocks. @param fill writes the numbers of block `index` */
export function packBlocks(
  layout: BlockLayout,
  count: number,
  fill: (block: Block, index: number) => void,
): Uint8Array<ArrayBuffer> {
  const { bits, blockBytes, factorAt } = layout, block = newBlock(layout);
  const packed = new Uint8Array(count * blockBytes), factors = new Float16Array(packed.buffer);
  for (let i = 0, at = 0; i < count; i++, at += blockBytes) {
    fill(block, i);
    factors[(at + factorAt) / 2] = block.factor;
    if (layout.minimums) factors[(at + factorAt) / 2 + 1] = 2 ** (bits - 1) * block.factor;
    write(packed, at, layout.codes, block.codes);
    if (layout.scales) write(packed, at, layout.scales, block.scales);
    if (layout.minimums) write(packed, at, layout.minimums, block.minimums);
  }
  return packed;
}

/** Reads blocks that {@link packBlocks} has written. @param use gets the numbers of block `index`, which are valid during the call */
export function readBlocks(
  layout: BlockLayout,
  packed: Uint8Array<ArrayBuffer>,
  use: (block: Block, index: number) => void,
): void {
  const { blockBytes, factorAt } = layout, block = newBlock(layout);
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  for (let i = 0, at = 0; at < packed.length; i++, at += blockBytes) {
    block.factor = view.getFloat16(at + factorAt, true);
    read(packed, at, layout.codes, block.codes);
    if (layout.scales) read(packed, at, layout.scales, block.scales);
    if (layout.minimums) read(packed, at, layout.minimums, block.minimums);
    use(block, i);
  }
}

function write(packed: Uint8Array, at: number, { steps, inverted }: Places, numbers: Uint8Array): void {
  for (let i = 0; i < steps.length; i += 5) {
    packed[at + steps[i + 2]] |= ((numbers[steps[i]] ^ inverted) >> steps[i + 1] & steps[i + 4]) <<
      steps[i + 3];
  }
}

function read(packed: Uint8Array, at: number, { steps, inverted }: Places, numbers: Uint8Array): void {
  numbers.fill(inverted);
  for (let i = 0; i < steps.length; i += 5) {
    numbers[steps[i]] ^= (packed[at + steps[i + 2]] >> steps[i + 3] & steps[i + 4]) << steps[i + 1];
  }
}
