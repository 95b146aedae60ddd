/** Reads GGUF files for tests, with no code of the writer. The format is described in `docs/gguf.md` of github.com/ggml-org/ggml. */

/** A tensor of a file. */
export interface GgufTensor {
  readonly type: number;
  /** The extents, the number of rows first. */
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export interface GgufFile {
  readonly metadata: ReadonlyMap<string, unknown>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** The bytes of a block of 32 weights, and the bits of a code, by the code of the type. */
const BLOCKS: Readonly<Record<number, { bytes: number; bits: number }>> = {
  2: { bytes: 18, bits: 4 },
  6: { bytes: 22, bits: 5 },
  8: { bytes: 34, bits: 8 },
};

/** The bytes of a super-block of 256 weights, and the function that reads its weights, by the code of the type. */
const SUPER_BLOCKS: Readonly<Record<number, { bytes: number; weights: (block: DataView) => number[] }>> = {
  10: { bytes: 84, weights: weightsOfQ2K },
  11: { bytes: 110, weights: weightsOfQ3K },
  12: { bytes: 144, weights: weightsOfQ4K },
  14: { bytes: 210, weights: weightsOfQ6K },
};

/** Parses a file. @throws {Error} if it is malformed or has a type that is not known here */
export function readGguf(bytes: Uint8Array): GgufFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  let at = 0;
  const u32 = () => view.getUint32((at += 4) - 4, true);
  const u64 = () => Number(view.getBigUint64((at += 8) - 8, true));
  const text = () => {
    const length = u64();
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(at, at += length));
  };
  const value = (type: number): unknown => {
    switch (type) {
      case 4:
        return u32();
      case 5:
        return view.getInt32((at += 4) - 4, true);
      case 6:
        return view.getFloat32((at += 4) - 4, true);
      case 7:
        return bytes[at++] === 1;
      case 8:
        return text();
      case 9: {
        const item = u32();
        return Array.from({ length: u64() }, () => value(item));
      }
    }
    throw new Error(`unknown type ${type} of metadata`);
  };
  const start = [...bytes.subarray(0, 4)].map((byte) => String.fromCharCode(byte)).join("");
  at = 4;
  if (start !== "GGUF" || u32() !== 3) throw new Error("no GGUF file of version 3");
  const tensorCount = u64(), entryCount = u64(), metadata = new Map<string, unknown>();
  for (let i = 0; i < entryCount; i++) metadata.set(text(), value(u32()));
  const infos = Array.from({ length: tensorCount }, () => {
    const name = text(), shape = Array.from({ length: u32() }, u64).reverse();
    return { name, shape, type: u32(), offset: u64() };
  });
  const data = Math.ceil(at / 32) * 32;
  const tensors = infos.map(({ name, shape, type, offset }): [string, GgufTensor] => {
    const count = shape.reduce((product, extent) => product * extent), block = BLOCKS[type];
    const perWeight = block
      ? block.bytes / 32
      : SUPER_BLOCKS[type]
      ? SUPER_BLOCKS[type].bytes / 256
      : type === 0
      ? 4
      : 2;
    const length = count * perWeight;
    if (offset % 32 !== 0 || data + offset + length > bytes.length) {
      throw new Error(`${name}: ends after the file`);
    }
    return [name, { type, shape, bytes: bytes.subarray(data + offset, data + offset + length) }];
  });
  return { metadata, tensors: new Map(tensors) };
}

/** The codes of a tensor in blocks, and the factor of each code, in the order of the weights. */
export function readBlocks(
  { type, bytes }: Pick<GgufTensor, "type" | "bytes">,
): { codes: number[]; factors: number[] } {
  const { bytes: size, bits } = BLOCKS[type], codes: number[] = [], factors: number[] = [];
  for (let begin = 0; begin < bytes.length; begin += size) {
    const block = bytes.slice(begin, begin + size), factor = new DataView(block.buffer).getFloat16(0, true);
    for (let i = 0; i < 32; i++) {
      const nibbles = block[size - 16 + i % 16], low = i < 16 ? nibbles & 15 : nibbles >> 4;
      const high = bits === 5 ? (block[2 + Math.floor(i / 8)] >> i % 8 & 1) * 16 : 0;
      codes.push(bits === 8 ? (block[2 + i] + 128) % 256 : low + high);
      factors.push(factor);
    }
  }
  return { codes, factors };
}

/** The weights of a tensor in blocks. */
export function blockWeights(tensor: Pick<GgufTensor, "type" | "bytes">): number[] {
  const { codes, factors } = readBlocks(tensor), middle = 2 ** (BLOCKS[tensor.type].bits - 1);
  return codes.map((code, i) => (code - middle) * factors[i]);
}

/** The weights of a tensor in super-blocks, in the arithmetic of f32. `dequantize_row_q*_K` of llama.cpp has the same loops. */
export function superBlockWeights({ type, bytes }: Pick<GgufTensor, "type" | "bytes">): number[] {
  const { bytes: size, weights } = SUPER_BLOCKS[type], found: number[] = [];
  for (let begin = 0; begin < bytes.length; begin += size) {
    found.push(...weights(new DataView(bytes.slice(begin, begin + size).buffer)));
  }
  return found;
}

/** The value d·scale·code − dmin·minimum in f32. */
function weightOf(d: number, scale: number, code: number, dmin = 0, minimum = 0): number {
  return Math.fround(Math.fround(Math.fround(d * scale) * code) - Math.fround(dmin * minimum));
}

function weightsOfQ2K(block: DataView): number[] {
  const y: number[] = [], d = block.getFloat16(80, true), dmin = block.getFloat16(82, true);
  let group = 0;
  for (let half = 0; half < 2; half++) {
    for (let shift = 0; shift < 8; shift += 2) {
      for (let sixteen = 0; sixteen < 2; sixteen++, group++) {
        const scale = block.getUint8(group);
        for (let l = 0; l < 16; l++) {
          const code = block.getUint8(16 + 32 * half + 16 * sixteen + l) >> shift & 3;
          y.push(weightOf(d, scale & 15, code, dmin, scale >> 4));
        }
      }
    }
  }
  return y;
}

function weightsOfQ3K(block: DataView): number[] {
  const y: number[] = [], d = block.getFloat16(108, true), at = (i: number) => block.getUint8(96 + i);
  let group = 0, mask = 1;
  for (let half = 0; half < 2; half++) {
    for (let shift = 0; shift < 8; shift += 2, mask <<= 1) {
      for (let sixteen = 0; sixteen < 2; sixteen++, group++) {
        const low = group < 8 ? at(group) & 15 : at(group - 8) >> 4;
        const scale = (low | (at(8 + group % 4) >> 2 * Math.floor(group / 4) & 3) << 4) - 32;
        for (let l = 0; l < 16; l++) {
          const byte = 16 * sixteen + l, low = block.getUint8(32 + 32 * half + byte) >> shift & 3;
          y.push(weightOf(d, scale, low - (block.getUint8(byte) & mask ? 0 : 4)));
        }
      }
    }
  }
  return y;
}

function weightsOfQ4K(block: DataView): number[] {
  const y: number[] = [], d = block.getFloat16(0, true), dmin = block.getFloat16(2, true);
  const at = (i: number) => block.getUint8(4 + i);
  for (let group = 0; group < 8; group++) {
    const scale = group < 4 ? at(group) & 63 : at(group + 4) & 15 | at(group - 4) >> 6 << 4;
    const minimum = group < 4 ? at(group + 4) & 63 : at(group + 4) >> 4 | at(group) >> 6 << 4;
    for (let l = 0; l < 32; l++) {
      const byte = block.getUint8(16 + 32 * Math.floor(group / 2) + l);
      y.push(weightOf(d, scale, group % 2 ? byte >> 4 : byte & 15, dmin, minimum));
    }
  }
  return y;
}

function weightsOfQ6K(block: DataView): number[] {
  const y = new Array<number>(256), d = block.getFloat16(208, true);
  for (let half = 0; half < 2; half++) {
    for (let l = 0; l < 32; l++) {
      const low = block.getUint8(64 * half + l), next = block.getUint8(64 * half + l + 32);
      const high = block.getUint8(128 + 32 * half + l);
      const codes = [low & 15, next & 15, low >> 4, next >> 4].map((code, i) =>
        code | (high >> 2 * i & 3) << 4
      );
      for (const [i, code] of codes.entries()) {
        const scale = block.getInt8(192 + 8 * half + 2 * i + Math.floor(l / 16));
        y[128 * half + 32 * i + l] = weightOf(d, scale, code - 32);
      }
    }
  }
  return y;
}
