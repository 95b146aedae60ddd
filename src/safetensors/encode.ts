/**
 * Writing a safetensors file: the header alone, for a caller that streams the data after it, or the whole file
 * in memory. As the reference writer does, the header is padded with spaces so that the data section begins at
 * a multiple of 8; unlike it, tensors keep the order given, so one that follows an odd-sized one is unaligned:
 * put wide dtypes first where a view of the file matters.
 */

import type { Dtype } from "../tensor/dtype.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { tensorBytes } from "../tensor/shape.ts";
import { quote } from "./error.ts";
import { LENGTH_BYTES, MAX_CHECKPOINT_HEADER_BYTES, METADATA_KEY } from "./header.ts";
import type { TensorInfo } from "./tensor_info.ts";

/** A tensor to be written, without its data. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** The head of a file and the plan of what must follow it. */
export interface EncodedHeader {
  /** Length field, JSON and padding; a multiple of 8. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Length of the data section that must follow. */
  readonly dataBytes: number;
  /** Where each tensor's bytes must lie in it, in the order given, without gaps. */
  readonly tensors: readonly TensorInfo[];
}

/**
 * The header for `tensors`, laid out in the order given, and for free-form `metadata` strings.
 *
 * @throws {TypeError} a name is repeated, reserved or not valid Unicode, or a metadata string is not.
 * @throws {RangeError} a shape is no shape, or the sizes or the header are past what the format holds.
 */
export function encodeHeader(
  tensors: Iterable<TensorSpec>,
  metadata: Readonly<Record<string, string>> = {},
): EncodedHeader {
  const infos = layOut(tensors);
  const entries = infos.map(({ name, dtype, shape, begin, end }) =>
    `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`
  );
  if (Object.keys(metadata).length > 0) entries.unshift(`"${METADATA_KEY}":${encodeMetadata(metadata)}`);
  const json = new TextEncoder().encode(`{${entries.join()}}`);
  const padded = Math.ceil(json.byteLength / 8) * 8;
  if (padded > MAX_CHECKPOINT_HEADER_BYTES) {
    throw new RangeError(
      `safetensors header: ${padded} bytes are above the format's ${MAX_CHECKPOINT_HEADER_BYTES}`,
    );
  }
  const bytes = new Uint8Array(LENGTH_BYTES + padded).fill(0x20, LENGTH_BYTES);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, LENGTH_BYTES);
  return { bytes, dataBytes: infos.at(-1)?.end ?? 0, tensors: infos };
}

/**
 * A whole file in memory.
 *
 * @throws {TypeError} as `encodeHeader`.
 * @throws {RangeError} as `encodeHeader`, or if a tensor's data is not as long as its dtype and shape need.
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

function layOut(tensors: Iterable<TensorSpec>): TensorInfo[] {
  const names = new Set<string>([METADATA_KEY]);
  const infos: TensorInfo[] = [];
  let begin = 0;
  for (const { name, dtype, shape } of tensors) {
    if (names.has(name)) throw new TypeError(`safetensors encode: the name ${quote(name)} is taken`);
    checkUnicode(name);
    names.add(name);
    const end = begin + tensorBytes(dtype, shape);
    if (!Number.isSafeInteger(end)) {
      throw new RangeError("safetensors encode: the data is not below 2^53 bytes");
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
