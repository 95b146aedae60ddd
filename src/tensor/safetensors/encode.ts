/**
 * Writes safetensors files. `encodeHeader` writes only the header, for a caller that streams the data after it.
 * `encode` writes a whole file in memory. As in the reference implementation (Hugging Face's library), the header is
 * padded with spaces, so that the data section begins at a multiple of 8 bytes. But tensors are not sorted by dtype, so
 * a tensor may be unaligned after a tensor with an odd number of bytes. For aligned views, pass wide dtypes first.
 */

import { type Dtype, tensorBytes } from "../dtype.ts";
import type { HostTensor } from "../host_tensor.ts";
import { quote } from "../../base/texts.ts";
import { LENGTH_BYTES, MAX_CHECKPOINT_HEADER_BYTES, METADATA_KEY, type TensorInfo } from "./header.ts";

/** The description of a tensor to write, without its data. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** A tensor to write. Its data is bytes, or is read when it is sent. */
interface TensorPart<Data> extends Omit<TensorSpec, "name"> {
  readonly data: Data;
}

/** An encoded header, and the layout of the data section that the caller must write after it. */
export interface EncodedHeader {
  /** The length field, the JSON and the padding. The number of bytes is a multiple of 8. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The length of the data section, in bytes. */
  readonly dataBytes: number;
  /** The position of each tensor in the data section, in the given order and without gaps. */
  readonly tensors: readonly TensorInfo[];
}

/**
 * Encodes the header of a file with these tensors, in the given order, and these `metadata` strings.
 * @throws {TypeError} if a tensor name is repeated or reserved, or if a name or a metadata string is not valid Unicode
 * @throws {RangeError} if a shape is invalid, the data needs 2^53 bytes or more, or the header is too long
 */
export function encodeHeader(
  tensors: Iterable<TensorSpec>,
  metadata: Readonly<Record<string, string>> = {},
): EncodedHeader {
  const infos = planLayout(tensors);
  const entries = infos.map(({ name, dtype, shape, begin, end }) =>
    `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`
  );
  if (Object.keys(metadata).length > 0) entries.unshift(`"${METADATA_KEY}":${encodeMetadata(metadata)}`);
  const json = new TextEncoder().encode(`{${entries.join()}}`);
  const padded = Math.ceil(json.byteLength / 8) * 8;
  if (padded > MAX_CHECKPOINT_HEADER_BYTES) {
    throw new RangeError(
      `safetensors header: ${padded} bytes are above the format's limit of ${MAX_CHECKPOINT_HEADER_BYTES}`,
    );
  }
  const bytes = new Uint8Array(LENGTH_BYTES + padded).fill(0x20, LENGTH_BYTES);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, LENGTH_BYTES);
  return { bytes, dataBytes: infos.at(-1)?.end ?? 0, tensors: infos };
}

/**
 * Encodes a file without a copy of its data. Returns the header and the data of each tensor, in order. Tensors that are undefined are left
 * out.
 * @throws as {@link encodeHeader}
 */
export function encodeParts<Data = Uint8Array<ArrayBuffer>>(
  tensors: Iterable<readonly [name: string, tensor: TensorPart<Data> | undefined]>,
  metadata?: Readonly<Record<string, string>>,
): (Uint8Array<ArrayBuffer> | Data)[] {
  const named = Array.from(tensors).flatMap(([name, tensor]) => tensor ? [{ name, ...tensor }] : []);
  return [encodeHeader(named, metadata).bytes, ...named.map(({ data }) => data)];
}

/**
 * Encodes a whole file in memory.
 * @throws {TypeError} in the cases of {@link encodeHeader}
 * @throws {RangeError} in the cases of {@link encodeHeader}, or if the data of a tensor does not have the length that
 *   its dtype and shape need
 */
export function encode(
  tensors: ReadonlyMap<string, HostTensor> | Readonly<Record<string, HostTensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const named = tensors instanceof Map ? [...tensors] : Object.entries(tensors);
  const header = encodeHeader(named.map(([name, { dtype, shape }]) => ({ name, dtype, shape })), metadata);
  const file = new Uint8Array(header.bytes.byteLength + header.dataBytes);
  file.set(header.bytes);
  for (const [index, [name, { data }]] of named.entries()) {
    const { begin, end } = header.tensors[index];
    if (data.byteLength !== end - begin) {
      throw new RangeError(
        `safetensors encode: tensor ${quote(name)} has ${data.byteLength} bytes of data but needs ${
          end - begin
        }`,
      );
    }
    file.set(data, header.bytes.byteLength + begin);
  }
  return file;
}

function planLayout(tensors: Iterable<TensorSpec>): TensorInfo[] {
  const usedNames = new Set<string>([METADATA_KEY]);
  const infos: TensorInfo[] = [];
  let begin = 0;
  for (const { name, dtype, shape } of tensors) {
    if (usedNames.has(name)) {
      throw new TypeError(`safetensors encode: the name ${quote(name)} is repeated or reserved`);
    }
    checkUnicode(name);
    usedNames.add(name);
    const end = begin + tensorBytes(dtype, shape);
    if (!Number.isSafeInteger(end)) {
      throw new RangeError("safetensors encode: the data section needs 2^53 bytes or more");
    }
    infos.push({ name, dtype, shape, begin, end });
    begin = end;
  }
  return infos;
}

function encodeMetadata(metadata: Readonly<Record<string, string>>): string {
  for (const text of Object.entries(metadata).flat()) checkUnicode(text);
  return JSON.stringify(metadata);
}

function checkUnicode(text: string): void {
  if (!text.isWellFormed()) throw new TypeError(`safetensors encode: ${quote(text)} is not valid Unicode`);
}
