/** Reads GGUF files for tests, with no code of the writer. The format is described in `docs/gguf.md` of github.com/ggml-org/ggml. */

/** A tensor of a file. */
export interface GgufTensor {
  readonly type: number;
  /** The extents, the one of the rows first. */
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
    const length = block ? count / 32 * block.bytes : count * (type === 0 ? 4 : 2);
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
