/**
 * Builds weight files in the format of PyTorch's `torch.save`, both valid and invalid ones. The format is a zip archive with a
 * pickle that describes the tensors. The functions emit pickle opcodes one by one, and they can write a wrong value into every
 * field of the archive that matters. This file shares no code with `src`.
 */

const text = new TextEncoder();

/** Little-endian bytes of an unsigned integer. */
function le(value: number | bigint, byteLength: number): number[] {
  return Array.from({ length: byteLength }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 255n));
}

/** Functions that return the bytes of pickle opcodes. */
export const pickle = {
  file: (...body: number[][]): Uint8Array<ArrayBuffer> => Uint8Array.from([0x80, 2, ...body.flat(), 0x2e]),
  none: [0x4e],
  mark: [0x28],
  emptyList: [0x5d],
  emptyDict: [0x7d],
  reduce: [0x52],
  build: [0x62],
  put: (index: number): number[] => [0x72, ...le(index, 4)],
  get: (index: number): number[] => [0x6a, ...le(index, 4)],
  text: (value: string): number[] => {
    const bytes = text.encode(value);
    return [0x58, ...le(bytes.length, 4), ...bytes];
  },
  int: (value: number | bigint): number[] =>
    BigInt.asIntN(32, BigInt(value)) === BigInt(value) ? [0x4a, ...le(value, 4)] : [0x8a, 8, ...le(value, 8)],
  global: (module: string, name: string): number[] => [0x63, ...text.encode(`${module}\n${name}\n`)],
  tuple: (...items: number[][]): number[] => [0x28, ...items.flat(), 0x74],
  dict: (...pairs: [string, number[]][]): number[] => [
    0x7d,
    0x28,
    ...pairs.flatMap(([key, value]) => [...pickle.text(key), ...value]),
    0x75,
  ],
  call: (callee: number[], ...args: number[][]): number[] => [...callee, ...pickle.tuple(...args), 0x52],
  orderedDict: (): number[] => pickle.call(pickle.global("collections", "OrderedDict")),
  storage: (type = "FloatStorage", key = "0", elements: number | bigint = 6): number[] => [
    ...pickle.tuple(
      pickle.text("storage"),
      pickle.global("torch", type),
      pickle.text(key),
      pickle.text("cpu"),
      pickle.int(elements),
    ),
    0x51,
  ],
  ints: (values: readonly (number | bigint)[]): number[] =>
    pickle.tuple(...values.map((value) => pickle.int(value))),
  tensor: (
    size: readonly (number | bigint)[] = [2, 3],
    stride: readonly (number | bigint)[] = [3, 1],
    offset: number | bigint = 0,
    storage: number[] = pickle.storage(),
  ): number[] =>
    pickle.call(
      pickle.global("torch._utils", "_rebuild_tensor_v2"),
      storage,
      pickle.int(offset),
      pickle.ints(size),
      pickle.ints(stride),
      [0x89],
      pickle.orderedDict(),
    ),
};

/** An entry of an archive. The optional fields replace the correct values in its headers. */
export interface ZipEntry {
  readonly name: string;
  readonly data: Uint8Array;
  /** The compression method in the local header and in the directory. 0 means that the data is stored without compression. */
  readonly method?: number;
  /** The general purpose bit flags of the zip format, in the local header and in the directory. */
  readonly flags?: number;
  /** The name in the local header of the entry. By default, the name in the directory. */
  readonly localName?: string;
  /** The uncompressed size in the directory. By default, the size of the data. */
  readonly size?: number;
  /** The compressed size in the directory. By default, the uncompressed size. */
  readonly compressedSize?: number;
  /** The offset of the entry in the directory. */
  readonly begin?: number;
  /** The number of zero bytes before the entry. In a `sparseFile` (see `memory_file.ts`) they take no memory. */
  readonly gap?: number;
}

/** Some bytes of a file, and the offset at which they begin. */
export interface Segment {
  readonly at: number;
  readonly bytes: Uint8Array;
}

const MAX_32 = 0xffffffff;

/** Builds an archive as a list of segments. It has zip64 end records, like the archives that torch writes. */
export function zipSegments(entries: readonly ZipEntry[]): { segments: Segment[]; byteLength: number } {
  const segments: Segment[] = [];
  const directory: number[] = [];
  let at = 0;
  for (const entry of entries) {
    at += entry.gap ?? 0;
    const { name, data, method = 0, flags = 0x0800 } = entry;
    const begin = entry.begin ?? at;
    const size = entry.size ?? data.byteLength;
    const compressed = entry.compressedSize ?? size;
    const local = text.encode(entry.localName ?? name);
    const header = Uint8Array.from([
      ...[0x50, 0x4b, 3, 4, 0, 0, ...le(flags, 2), ...le(method, 2), 0, 0, 0, 0, ...le(0, 12)],
      ...[...le(local.length, 2), ...le(4, 2), ...local, 0x46, 0x42, 0, 0],
    ]);
    segments.push({ at, bytes: header }, { at: at + header.byteLength, bytes: data });
    at += header.byteLength + data.byteLength;
    const raw = text.encode(name);
    const wide = [size, compressed, begin].filter((value) => value >= MAX_32);
    const extra = wide.length > 0
      ? [1, 0, ...le(8 * wide.length, 2), ...wide.flatMap((value) => le(value, 8))]
      : [];
    const narrow = (value: number) => le(Math.min(value, MAX_32), 4);
    directory.push(
      ...[0x50, 0x4b, 1, 2, 0, 0, 0, 0, ...le(flags, 2), ...le(method, 2), 0, 0, 0, 0, ...le(0, 4)],
      ...[...narrow(compressed), ...narrow(size), ...le(raw.length, 2), ...le(extra.length, 2), ...le(0, 10)],
      ...[...narrow(begin), ...raw, ...extra],
    );
  }
  const count = entries.length, bytes = directory.length, end = at + bytes;
  const narrowCount = le(Math.min(count, 0xffff), 2);
  directory.push(
    ...[0x50, 0x4b, 6, 6, ...le(44, 8), 45, 0, 45, 0, ...le(0, 8), ...le(count, 8), ...le(count, 8)],
    ...[...le(bytes, 8), ...le(at, 8), 0x50, 0x4b, 6, 7, ...le(0, 4), ...le(end, 8), ...le(1, 4)],
    ...[0x50, 0x4b, 5, 6, ...le(0, 4), ...narrowCount, ...narrowCount, ...le(bytes, 4)],
    ...[...le(Math.min(at, MAX_32), 4), 0, 0],
  );
  segments.push({ at, bytes: Uint8Array.from(directory) });
  return { segments, byteLength: at + directory.length };
}

/** Builds an archive in memory. */
export function zip(entries: readonly ZipEntry[]): Uint8Array<ArrayBuffer> {
  const { segments, byteLength } = zipSegments(entries);
  const file = new Uint8Array(byteLength);
  for (const { at, bytes } of segments) file.set(bytes, at);
  return file;
}

/**
 * Builds a weight file. By default it is valid and has one F32 tensor `w`, (2, 3), with the values 0 to 5. It has no entry
 * `byteorder`, like the files of older versions of torch.
 *
 * @param data the pickle
 * @param more entries to append to the archive
 */
export function torchFile(
  data: Uint8Array = pickle.file(pickle.dict(["w", pickle.tensor()])),
  ...more: ZipEntry[]
): Uint8Array<ArrayBuffer> {
  return zip([...torchEntries(data), ...more]);
}

/** The entries of the archive that {@link torchFile} builds. */
export function torchEntries(
  data: Uint8Array = pickle.file(pickle.dict(["w", pickle.tensor()])),
): ZipEntry[] {
  return [
    { name: "any/data.pkl", data },
    { name: "any/data/0", data: new Uint8Array(Float32Array.of(0, 1, 2, 3, 4, 5).buffer) },
    { name: "any/version", data: text.encode("3\n") },
  ];
}
