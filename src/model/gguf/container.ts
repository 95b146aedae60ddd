/**
 * Encodes the header of a GGUF file, version 3: the metadata, and the names, shapes and positions of the tensors. The format is defined by
 * `docs/gguf.md` in github.com/ggml-org/ggml. All numbers are little-endian.
 */

import { ModelError } from "../../base/files/file_error.ts";

const MAGIC = "GGUF";
const VERSION = 3;

/** Tensors begin at multiples of this number of bytes. */
export const ALIGNMENT = 32;

/** The longest name of a tensor that llama.cpp reads, without the zero at its end. */
const MAX_NAME_BYTES = 63;

/** The longest text of the metadata. A chat template is the longest one, and has less than 100 KB. */
const MAX_TEXT_BYTES = 16 << 20;

/** The codes of the types of metadata. */
const TYPE_CODES = { u32: 4, i32: 5, f32: 6, bool: 7, text: 8, array: 9 } as const;

type ScalarType = Exclude<keyof typeof TYPE_CODES, "array">;

/** A value of the metadata, or a list of values of one type. */
export interface MetadataValue {
  readonly type: ScalarType;
  readonly value: number | boolean | string | readonly (number | boolean | string)[];
}

export type MetadataEntry = readonly [key: string, value: MetadataValue];

export const u32 = (value: number): MetadataValue => ({ type: "u32", value });
export const f32 = (value: number): MetadataValue => ({ type: "f32", value });
export const bool = (value: boolean): MetadataValue => ({ type: "bool", value });
export const text = (value: string): MetadataValue => ({ type: "text", value });

export interface TensorEntry {
  readonly name: string;
  /** The code of the type of the tensor. */
  readonly type: number;
  /** The extents, the number of rows first as in a checkpoint. GGUF has the extents in the reverse order. */
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** Rounds a position up to a multiple of {@link ALIGNMENT}. */
export function align(position: number): number {
  return Math.ceil(position / ALIGNMENT) * ALIGNMENT;
}

/**
 * Returns the header, padded to {@link ALIGNMENT}. The tensors follow in their order, each padded in the same way.
 * @throws {ModelError} if a number does not fit into its type, or if a text is too long, has the character NUL, or has half
 * of a surrogate pair
 */
export function encodeHeader(
  metadata: readonly MetadataEntry[],
  tensors: readonly TensorEntry[],
): Uint8Array<ArrayBuffer> {
  const writer = new HeaderWriter();
  writer.bytes(new TextEncoder().encode(MAGIC));
  writer.number("u32", VERSION, "version");
  writer.u64(tensors.length);
  writer.u64(metadata.length);
  for (const [key, { type, value }] of metadata) {
    writer.text(key, key);
    if (Array.isArray(value)) {
      writer.number("u32", TYPE_CODES.array, key);
      writer.number("u32", TYPE_CODES[type], key);
      writer.u64(value.length);
      for (const item of value) writer.scalar(type, item, key);
    } else {
      writer.number("u32", TYPE_CODES[type], key);
      writer.scalar(type, value as number | boolean | string, key);
    }
  }
  let offset = 0;
  for (const { name, type, shape, byteLength } of tensors) {
    writer.text(name, name, MAX_NAME_BYTES);
    writer.number("u32", shape.length, name);
    for (const extent of shape.toReversed()) writer.u64(extent);
    writer.number("u32", type, name);
    writer.u64(offset);
    offset = align(offset + byteLength);
  }
  return writer.finish();
}

/** Collects the bytes of the header. `key` names the entry in messages. */
class HeaderWriter {
  #buffer = new Uint8Array(1 << 16);
  #length = 0;

  bytes(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length);
    this.#buffer.set(bytes, at);
  }

  u64(value: number): void {
    const at = this.#reserve(8);
    this.#view().setBigUint64(at, BigInt(value), true);
  }

  number(type: "u32" | "i32" | "f32", value: number, key: string): void {
    const isFine = type === "f32"
      ? Number.isFinite(Math.fround(value))
      : value === (type === "u32" ? value >>> 0 : value | 0);
    if (!isFine) throw new ModelError(`GGUF: ${key} is ${value}, which ${type} cannot store`);
    const at = this.#reserve(4), view = this.#view();
    if (type === "f32") view.setFloat32(at, value, true);
    else view.setUint32(at, value >>> 0, true);
  }

  scalar(type: ScalarType, value: number | boolean | string, key: string): void {
    if (type === "text") this.text(String(value), key);
    else if (type === "bool") this.bytes(Uint8Array.of(value ? 1 : 0));
    else this.number(type, Number(value), key);
  }

  text(value: string, key: string, maxBytes = MAX_TEXT_BYTES): void {
    const bytes = new TextEncoder().encode(value), start = JSON.stringify(value.slice(0, 40));
    if (!value.isWellFormed()) {
      throw new ModelError(`GGUF: ${key.slice(0, 80)} has ${start}, which is not Unicode text`);
    }
    if (value.includes("\0")) {
      throw new ModelError(
        `GGUF: ${key.slice(0, 80)} has ${start}, but llama.cpp ends a text at the character NUL`,
      );
    }
    if (bytes.length > maxBytes) {
      throw new ModelError(
        `GGUF: ${key.slice(0, 80)} has ${bytes.length} bytes, and may have at most ${maxBytes}`,
      );
    }
    this.u64(bytes.length);
    this.bytes(bytes);
  }

  finish(): Uint8Array<ArrayBuffer> {
    this.#reserve(align(this.#length) - this.#length);
    return this.#buffer.slice(0, this.#length);
  }

  #view(): DataView {
    return new DataView(this.#buffer.buffer);
  }

  /** Makes room for `count` bytes, which are zero, and returns their position. */
  #reserve(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, at));
      this.#buffer = larger;
    }
    return at;
  }
}
