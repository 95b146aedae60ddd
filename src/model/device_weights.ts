/**
 * The weights of one transformer block, or of the head, on the device in f32. A matrix that is larger than the largest buffer of the device
 * is stored in strips, which are buffers with consecutive rows of the matrix. A 16-bit tensor is uploaded in its own dtype, and converted
 * on the device.
 */

import type { Backend, DeviceBuffer } from "../device/backend.ts";
import { freeArray } from "../device/host_memory.ts";
import { DTYPE_CODE, toFloat32 } from "../device/kernels/transfer/convert.ts";
import { type LinearSpec, type NormSpec, normTensors, storedShape, type VectorSpec } from "./layer_specs.ts";
import { checkTensor, readElements, type TensorSource } from "./checkpoint/tensor_source.ts";
import { bytesToFloats, type FloatDtype } from "../tensor/dtype.ts";

/** Rows `row0` … `row0 + rows − 1` of a matrix, in one buffer. */
export interface RowStrip {
  readonly buffer: DeviceBuffer;
  readonly row0: number;
  readonly rows: number;
}

/** The weight of a linear layer on the device, in the shape in which the checkpoint stores it, and its bias. */
export interface DeviceLinear {
  readonly strips: readonly RowStrip[];
  readonly bias?: DeviceBuffer;
}

/** The weights of a norm on the device, (size) f32 each. */
export interface DeviceNorm {
  readonly weight: DeviceBuffer;
  /** Only a LayerNorm has a bias. */
  readonly bias?: DeviceBuffer;
}

/** The layers to load. `prefix` is put before their names. */
export interface WeightsSpec {
  readonly prefix: string;
  readonly linears: readonly LinearSpec[];
  readonly norms: readonly NormSpec[];
  readonly vectors?: readonly VectorSpec[];
  /** Whether the layers of experts are loaded each time they run, and freed after it. Defaults to false. */
  readonly streamsExperts?: boolean;
}

/** The weights of several layers on a device, by their declarations. The caller destroys the object after use. */
export class DeviceWeights {
  readonly #backend: Backend;
  readonly #source: TensorSource;
  readonly #spec: WeightsSpec;
  readonly #linears = new Map<LinearSpec, DeviceLinear>();
  readonly #norms = new Map<NormSpec, DeviceNorm>();
  readonly #vectors = new Map<VectorSpec, Float32Array>();
  readonly #buffers: DeviceBuffer[] = [];

  private constructor(backend: Backend, source: TensorSource, spec: WeightsSpec) {
    this.#backend = backend;
    this.#source = source;
    this.#spec = spec;
  }

  /**
   * Reads and uploads the layers of `spec`. If loading fails, all buffers are freed.
   * @throws {ModelError} if a tensor is missing, or does not have the shape or dtype of the model
   * @throws {OutOfDeviceMemoryError} if a buffer cannot be allocated
   */
  static async load(backend: Backend, source: TensorSource, spec: WeightsSpec): Promise<DeviceWeights> {
    const weights = new DeviceWeights(backend, source, spec);
    try {
      for (const linear of spec.linears) {
        if (spec.streamsExperts && linear.expertRole !== undefined) continue;
        weights.#linears.set(linear, await weights.#loadLinear(spec.prefix + linear.name, linear));
      }
      for (const norm of spec.norms) {
        weights.#norms.set(norm, await weights.#loadNorm({ ...norm, name: spec.prefix + norm.name }));
      }
      for (const vector of spec.vectors ?? []) {
        const { name, size, shape } = vector;
        weights.#vectors.set(vector, await readVector(source, spec.prefix + name, size, shape));
      }
    } catch (error) {
      weights.destroy();
      throw error;
    }
    return weights;
  }

  /**
   * Calls `work` with the weights of the layers of an expert. If experts are streamed, they are loaded before it, and freed when the work
   * that it queues is done.
   * @throws the errors of {@link load}
   */
  async withLayers(linears: readonly LinearSpec[], work: (weights: DeviceWeights) => void): Promise<void> {
    const { prefix, streamsExperts } = this.#spec;
    if (!streamsExperts || linears.every((linear) => this.#linears.has(linear))) return work(this);
    const weights = await DeviceWeights.load(this.#backend, this.#source, { prefix, linears, norms: [] });
    try {
      work(weights);
      await this.#backend.finish();
    } finally {
      weights.destroy();
    }
  }

  /** Returns the weights of a linear layer. @throws {RangeError} if it was not loaded */
  linear(spec: LinearSpec): DeviceLinear {
    return requireLoaded(this.#linears.get(spec), spec.name);
  }

  /** Returns the weights of a norm. @throws {RangeError} if it was not loaded */
  norm(spec: NormSpec): DeviceNorm {
    return requireLoaded(this.#norms.get(spec), spec.name);
  }

  /** Returns a vector, which is in host memory. @throws {RangeError} if it was not loaded */
  vector(spec: VectorSpec): Float32Array {
    return requireLoaded(this.#vectors.get(spec), spec.name);
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }

  async #loadLinear(name: string, spec: LinearSpec): Promise<DeviceLinear> {
    const [allRows, cols] = storedShape(spec);
    const dtype = checkTensor(this.#source, `${name}.weight`, [allRows, cols]);
    const stripRows = Math.floor(this.#backend.maxBufferBytes / (cols * 4));
    const strips: RowStrip[] = [];
    for (let row0 = 0; row0 < allRows; row0 += stripRows) {
      const rows = Math.min(stripRows, allRows - row0);
      const first = row0 * cols, count = rows * cols;
      const buffer = this.#own(
        await uploadElements(this.#backend, this.#source, `${name}.weight`, dtype, first, count),
      );
      strips.push({ buffer, row0, rows });
    }
    return { strips, bias: spec.bias ? await this.#loadVector(`${name}.bias`, spec.outFeatures) : undefined };
  }

  async #loadNorm(spec: NormSpec): Promise<DeviceNorm> {
    const [weightName, biasName]: (string | undefined)[] = normTensors(spec);
    const load = (name: string | undefined, constant: number, offset?: number) =>
      name === undefined
        ? this.#upload(`${spec.name} ${constant}`, new Float32Array(spec.size).fill(constant))
        : this.#loadVector(name, spec.size, offset);
    const weight = await load(weightName, 1, spec.weightOffset);
    return spec.kind === "rms" ? { weight } : { weight, bias: await load(biasName, 0) };
  }

  #upload(label: string, values: Float32Array<ArrayBuffer>): DeviceBuffer {
    const buffer = this.#own(this.#backend.createBuffer(label, values.byteLength));
    this.#backend.write(buffer, 0, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return buffer;
  }

  /** Loads a vector and adds `offset` to its elements. */
  async #loadVector(name: string, size: number, offset = 0): Promise<DeviceBuffer> {
    if (offset !== 0) {
      const values = await readVector(this.#source, name, size);
      return this.#upload(name, values.map((value) => value + offset));
    }
    const dtype = checkTensor(this.#source, name, [size]);
    return this.#own(await uploadElements(this.#backend, this.#source, name, dtype, 0, size));
  }

  /** Registers `buffer`, so that `destroy` frees it. */
  #own(buffer: DeviceBuffer): DeviceBuffer {
    this.#buffers.push(buffer);
    return buffer;
  }
}

async function readVector(
  source: TensorSource,
  name: string,
  size: number,
  shape: readonly number[] = [size],
): Promise<Float32Array<ArrayBuffer>> {
  const dtype = checkTensor(source, name, shape);
  return bytesToFloats(await readElements(source, name, 0, size), dtype);
}

/** @throws {RangeError} if there is no value */
function requireLoaded<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new RangeError(`weights of ${name}: were not loaded`);
  return value;
}

/**
 * Uploads elements `first` … `first + count − 1` of a tensor.
 * @param dtype the dtype of the tensor
 * @returns (count) f32. The caller frees the buffer
 */
export async function uploadElements(
  backend: Backend,
  source: TensorSource,
  name: string,
  dtype: FloatDtype,
  first: number,
  count: number,
): Promise<DeviceBuffer> {
  const bytes = await readElements(source, name, first, count);
  if (dtype === "F32") {
    const target = backend.createBuffer(name, count * 4);
    backend.write(target, 0, bytes);
    freeArray(bytes);
    return target;
  }
  const raw = backend.createBuffer(`${name} raw`, bytes.byteLength);
  try {
    const target = backend.createBuffer(name, count * 4);
    backend.write(raw, 0, padToWords(bytes));
    freeArray(bytes);
    const params = { count, dtype: DTYPE_CODE[dtype], source_offset: 0, target_offset: 0 };
    backend.dispatch(toFloat32, { source: raw, target }, params);
    return target;
  } finally {
    raw.destroy();
  }
}

/** Pads an odd number of 16-bit elements to whole 4-byte words, because a backend writes whole words. */
function padToWords(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (bytes.byteLength % 4 === 0) return bytes;
  const padded = new Uint8Array(bytes.byteLength + 2);
  padded.set(bytes);
  return padded;
}
