/** Packs blocks of GGUF by tables that say where a block has the bits of its numbers. */

/** The place of some bits of a number: the byte in the block, the lowest bit in the byte, and the number of bits. */
export type Bits = readonly [byte: number, shift: number, width: number];

/** The places of numbers in a block. */
interface Places {
  /** Returns the places of the bits of number `index`, the lowest bits first. */
  at(index: number): readonly Bits[];
  /** The bits that are stored inverted. @default 0 */
  readonly inverted?: number;
}

/** The content of a block, as `ggml-common.h` in github.com/ggml-org/llama.cpp defines it. */
export interface BlockLayout {
  /** The bits of a code. */
  readonly bits: number;
  readonly blockBytes: number;
  /** The byte of the factor d, in F16. In a type with minimums, the factor of the minimums follows. */
  readonly factorAt: number;
  readonly codes: Places;
  /** The integers n of the groups. Absent if the block is one group. */
  readonly scales?: Places;
  /** The integers m of the groups. Absent if the type has no minimums. */
  readonly minimums?: Places;
}

/** The numbers of a block. */
export interface Block {
  /** d */
  readonly factor: number;
  readonly codes: Uint8Array;
  /** n of each group. Needed if the layout has scales. */
  readonly scales?: Int8Array;
  /** m of each group. Needed if the layout has minimums. */
  readonly minimums?: Uint8Array;
}

/** Packs a block. The factor of the minimums is 2^(bits − 1)·d. */
export function packBlock(
  layout: BlockLayout,
  { factor, codes, scales, minimums }: Block,
): Uint8Array<ArrayBuffer> {
  const { bits, blockBytes, factorAt } = layout,
    block = new Uint8Array(blockBytes),
    view = new DataView(block.buffer);
  view.setFloat16(factorAt, factor, true);
  if (layout.minimums) view.setFloat16(factorAt + 2, 2 ** (bits - 1) * factor, true);
  write(block, layout.codes, codes);
  if (layout.scales) write(block, layout.scales, scales!);
  if (layout.minimums) write(block, layout.minimums, minimums!);
  return block;
}

/** The steps that write the numbers of a list: index, lowest bit of the number, byte, shift and mask of each place. */
const STEPS = new WeakMap<Places, Uint16Array>();

function stepsOf({ at }: Places, count: number): Uint16Array {
  return Uint16Array.from(
    Array.from({ length: count }, (_, index) => {
      let first = 0;
      return at(index).map((
        [byte, shift, width],
      ) => [index, (first += width) - width, byte, shift, (1 << width) - 1]);
    }).flat(2),
  );
}

function write(block: Uint8Array, places: Places, numbers: Uint8Array | Int8Array): void {
  const steps = STEPS.get(places) ?? stepsOf(places, numbers.length), inverted = places.inverted ?? 0;
  STEPS.set(places, steps);
  for (let i = 0; i < steps.length; i += 5) {
    block[steps[i + 2]] |= ((numbers[steps[i]] ^ inverted) >> steps[i + 1] & steps[i + 4]) << steps[i + 3];
  }
}
