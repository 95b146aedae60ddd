/**
 * Computes the inputs of blocks that depend only on the ids of tokens (`TokenInputsSpec`). The table has a row for each id with the columns
 * of all blocks, so it is far larger than the weights of a block. Only the part of a row that belongs to the wanted blocks is read.
 */

import type { Backend } from "../device/backend.ts";
import { ResourceSet } from "../device/owned.ts";
import { ModelError } from "../base/files/file_error.ts";
import { BYTES_PER_ELEMENT } from "../tensor/dtype.ts";
import { asFloat32 } from "../tensor/host_tensor.ts";
import { checkTensor, type TensorSource } from "./checkpoint/tensor_source.ts";
import { DeviceWeights } from "./device_weights.ts";
import { Embedding, EmbeddingTable } from "./embedding.ts";
import type { ModelSpec, TokenInputsSpec } from "./families/family.ts";
import { ForwardWorkspace } from "./forward_workspace.ts";
import type { LinearSpec } from "./layer_specs.ts";
import type { Model } from "./model.ts";
import { applyLinear } from "./pieces/linear.ts";
import { normalize } from "./pieces/norm.ts";

/** The number of ids whose inputs are computed at once. */
const CHUNK_IDS = 1024;

/** Consecutive blocks. */
interface BlockRange {
  readonly first: number;
  readonly count: number;
}

/**
 * Checks that hosts can run the blocks of a model. A host gets one block at a time, and never gets the table of these inputs.
 * @throws {ModelError} if the blocks have such inputs
 */
export function requireNoTokenInputs({ tokenInputs }: ModelSpec): void {
  if (!tokenInputs) return;
  throw new ModelError(
    `${tokenInputs.table}: hosts do not run the blocks of Gemma 4 E2B and E4B, which read this table; ` +
      "use pare prune without --remote",
  );
}

/** Returns the inputs of `block` for `ids`, (ids.length, size) f32. @throws {ModelError} as `TokenInputs` */
export async function inputsOfBlock(
  backend: Backend,
  model: Model,
  block: number,
  ids: Uint32Array,
): Promise<Float32Array> {
  using opened = new ResourceSet();
  const embedding = opened.add(await Embedding.open(backend, model, 0));
  const inputs = await TokenInputs.open(backend, model, embedding, { first: block, count: 1 });
  return await opened.add(inputs!).of(ids);
}

/** Returns the distinct ids in `windows`, in the order in which they occur. */
export function distinctIds(windows: readonly Uint32Array[]): Uint32Array<ArrayBuffer> {
  const ids = new Set<number>();
  for (const window of windows) for (const id of window) ids.add(id);
  return Uint32Array.from(ids);
}

/** The inputs of some blocks, for any ids. The caller destroys the object after use. */
export class TokenInputs {
  readonly #owned = new ResourceSet();
  readonly #workspace: ForwardWorkspace;

  private constructor(
    readonly backend: Backend,
    readonly embedding: Embedding,
    readonly spec: TokenInputsSpec,
    readonly blocks: BlockRange,
    /** The rows of the projection that belong to `blocks`. */
    readonly projection: LinearSpec,
    readonly weights: DeviceWeights,
    readonly table: EmbeddingTable,
  ) {
    this.#owned.add(weights);
    this.#workspace = this.#owned.add(new ForwardWorkspace(backend));
  }

  /**
   * Loads the weights for `blocks`. Returns undefined if the blocks of the model have no such inputs.
   * @param embedding the embedding of `model`, which the caller destroys later
   * @throws {ModelError} if a tensor is missing, or if its shape differs from the configuration
   */
  static async open(
    backend: Backend,
    model: Model,
    embedding: Embedding,
    blocks: BlockRange,
  ): Promise<TokenInputs | undefined> {
    const { spec: { tokenInputs: spec, hiddenSize }, weights: source } = model;
    if (!spec) return undefined;
    const { projection, size, table, rows, norm } = spec, name = `${projection.name}.weight`;
    const opened = await EmbeddingTable.open(source, table, rows, projection.outFeatures, 0);
    checkTensor(source, name, [projection.outFeatures, hiddenSize]);
    const part = { ...projection, outFeatures: blocks.count * size };
    const weights = await DeviceWeights.load(
      backend,
      withRows(source, name, blocks.first * size, part.outFeatures),
      { prefix: "", linears: [part], norms: [norm] },
    );
    return new TokenInputs(backend, embedding, spec, blocks, part, weights, opened);
  }

  /**
   * Returns the inputs for `ids`, (ids.length, blocks · size) f32.
   * @throws {ModelError} if an id is not in the vocabulary, or has no row in the table
   */
  async of(ids: Uint32Array): Promise<Float32Array<ArrayBuffer>> {
    const { outFeatures } = this.projection, factor = Math.sqrt(this.spec.size);
    const inputs = new Float32Array(ids.length * outFeatures);
    for (let first = 0; first < ids.length; first += CHUNK_IDS) {
      const chunk = ids.subarray(first, first + CHUNK_IDS), projected = await this.#project(chunk);
      const rows = await this.table.rows(chunk, this.blocks.first * this.spec.size, outFeatures);
      const sums = rows.map((value, i) => (projected[i] + factor * value) * Math.SQRT1_2);
      inputs.set(sums, first * outFeatures);
    }
    return inputs;
  }

  /** Projects the hidden states of `ids` before the first block, and normalises the result for each block. */
  async #project(ids: Uint32Array): Promise<Float32Array> {
    const { backend, weights, projection, embedding, spec: { norm }, blocks } = this, rows = ids.length;
    const { inFeatures, outFeatures } = projection, workspace = this.#workspace;
    const states = await embedding.gather([ids]);
    const x = workspace.buffer("embedded", states.length);
    const y = workspace.buffer("projected", rows * outFeatures);
    backend.write(x, 0, new Uint8Array(states.buffer, states.byteOffset, states.byteLength));
    const pass = { backend, weights, workspace, rows };
    applyLinear(pass, projection, x, 0, rows, y, { scale: inFeatures ** -0.5 });
    const normalized = normalize(pass, norm, y, rows * blocks.count);
    return asFloat32(await backend.read(normalized, 0, 4 * rows * outFeatures));
  }

  destroy(): void {
    this.#owned.destroy();
  }
}

/** Returns `source` with rows `first` … `first + count − 1` of the matrix `name` in the place of all its rows. */
function withRows(source: TensorSource, name: string, first: number, count: number): TensorSource {
  const { dtype, shape: [, cols] } = source.info(name), skipped = first * cols * BYTES_PER_ELEMENT[dtype];
  return {
    has: (other) => source.has(other),
    info: (other) => other === name ? { dtype, shape: [count, cols] } : source.info(other),
    read: (other, offset, length) => source.read(other, other === name ? skipped + offset : offset, length),
  };
}
