/**
 * Runs a model on one sequence of tokens that grows. The keys and values of earlier tokens are stored, so each call computes
 * only the new tokens.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { asFloat32 } from "../../tensor/host_tensor.ts";
import type { DeviceWeights } from "../device_weights.ts";
import { Embedding } from "../embedding.ts";
import { blocksOf } from "../families/family.ts";
import { ForwardWorkspace } from "../forward_workspace.ts";
import { computeLogits, headInputs, loadHead } from "../head.ts";
import type { Model } from "../model.ts";
import type { BlockPass } from "../pieces/block_pass.ts";
import { KeyValueCache } from "../pieces/key_value_cache.ts";
import { TokenInputs } from "../token_inputs.ts";
import { BlockWeights } from "./block_weights.ts";

/** The largest number of tokens that run at once. It bounds the memory of activations for long prompts. */
const MAX_PASS_TOKENS = 256;

/** A model, and the tokens that it has processed. The caller destroys it at the end. */
export class Decoder {
  readonly #backend: Backend;
  readonly #model: Model;
  readonly #embedding: Embedding;
  readonly #head: DeviceWeights;
  readonly #blocks: BlockWeights;
  readonly #workspace: ForwardWorkspace;
  /** The caches by block. All blocks that read the keys and values of other blocks have the same cache. */
  readonly #caches: readonly KeyValueCache[];
  readonly #tokenInputs?: TokenInputs;

  private constructor(
    backend: Backend,
    model: Model,
    capacity: number,
    embedding: Embedding,
    head: DeviceWeights,
    tokenInputs?: TokenInputs,
  ) {
    this.#backend = backend;
    this.#model = model;
    this.#embedding = embedding;
    this.#head = head;
    this.#tokenInputs = tokenInputs;
    this.#blocks = new BlockWeights(backend, model);
    this.#workspace = new ForwardWorkspace(backend);
    const shared = new KeyValueCache(backend, capacity);
    this.#caches = blocksOf(model.spec).map(({ traits }) =>
      traits.sharedKeys?.isSource === false ? shared : new KeyValueCache(backend, capacity)
    );
  }

  /**
   * Loads the embedding and the head of `model`, and the weights of its `TokenInputs`.
   * @param capacity the largest number of tokens of the sequence
   * @throws {RangeError} if the model does not have positions for so many tokens
   * @throws {ModelError} if weights do not fit the configuration
   * @throws {OutOfDeviceMemoryError}
   */
  static async open(backend: Backend, model: Model, capacity: number): Promise<Decoder> {
    const { maxTokens, blockCount } = model.spec;
    if (capacity > maxTokens) {
      throw new RangeError(`sequence of ${capacity} tokens: the model has positions for ${maxTokens}`);
    }
    const embedding = await Embedding.open(backend, model), blocks = { first: 0, count: blockCount };
    let tokenInputs: TokenInputs | undefined;
    try {
      tokenInputs = await TokenInputs.open(backend, model, embedding, blocks);
      return new Decoder(backend, model, capacity, embedding, await loadHead(backend, model), tokenInputs);
    } catch (error) {
      tokenInputs?.destroy();
      embedding.destroy();
      throw error;
    }
  }

  /**
   * Appends `tokens` to the sequence. Returns the logits of the token after them, (vocabSize) f32.
   * @throws {RangeError} if there are no tokens, or if the sequence becomes longer than its capacity
   * @throws {ModelError} if an id is not in the vocabulary
   * @throws {OutOfDeviceMemoryError} {DeviceLostError}
   */
  async append(tokens: Uint32Array): Promise<Float32Array> {
    const { past, capacity } = this.#caches[0];
    if (tokens.length === 0 || past + tokens.length > capacity) {
      throw new RangeError(`${tokens.length} tokens after ${past}: the capacity is ${capacity} tokens`);
    }
    for (let start = 0; start + MAX_PASS_TOKENS < tokens.length; start += MAX_PASS_TOKENS) {
      await this.#run(tokens.subarray(start, start + MAX_PASS_TOKENS));
    }
    const rest = (tokens.length - 1) % MAX_PASS_TOKENS + 1;
    return await this.#logitsAfter(await this.#run(tokens.subarray(tokens.length - rest)));
  }

  /** Runs all blocks on `tokens`. Returns the pass. The hidden states of the tokens are in its workspace. */
  async #run(tokens: Uint32Array): Promise<Omit<BlockPass, "weights">> {
    const backend = this.#backend, workspace = this.#workspace, { spec } = this.#model;
    const states = await this.#embedding.gather([tokens], this.#caches[0].past);
    const x = workspace.buffer("hidden states", states.length);
    backend.write(x, 0, new Uint8Array(states.buffer, states.byteOffset, states.byteLength));
    const pass = { backend, workspace, windows: 1, tokens: tokens.length, rows: tokens.length };
    const { sharedColumns: ld = 0 } = spec, name = "shared keys and values";
    const sharedKeys = ld > 0
      ? { buffer: workspace.buffer(name, tokens.length * ld), offset: 0, ld }
      : undefined;
    const inputs = await this.#tokenInputs?.of(tokens);
    for (const [index, cache] of this.#caches.entries()) {
      const tokenInputs = inputs && this.#upload(inputs, index, tokens.length);
      const weights = await this.#blocks.load(index);
      await spec.block(index).forward({ ...pass, weights, cache, tokenInputs, sharedKeys }, x, index);
    }
    for (const cache of new Set(this.#caches)) cache.past += tokens.length;
    return pass;
  }

  /** Uploads the inputs of one block for `rows` tokens. @param inputs the inputs of all blocks */
  #upload(inputs: Float32Array, block: number, rows: number): DeviceBuffer {
    const { spec: { tokenInputs, blockCount } } = this.#model, size = tokenInputs!.size;
    const ofBlock = new Float32Array(rows * size);
    for (let row = 0; row < rows; row++) {
      const first = (row * blockCount + block) * size;
      ofBlock.set(inputs.subarray(first, first + size), row * size);
    }
    const buffer = this.#workspace.buffer("inputs of tokens", ofBlock.length);
    this.#backend.write(buffer, 0, new Uint8Array(ofBlock.buffer));
    return buffer;
  }

  /** Computes the logits of the last token of a pass. */
  async #logitsAfter({ rows, ...pass }: Omit<BlockPass, "weights">): Promise<Float32Array> {
    const { spec } = this.#model, { backend, workspace } = pass, rowBytes = 4 * spec.hiddenSize;
    const x = workspace.buffer("last hidden state", spec.hiddenSize);
    backend.copy(
      workspace.buffer("hidden states", rows * spec.hiddenSize),
      (rows - 1) * rowBytes,
      x,
      0,
      rowBytes,
    );
    const last = { ...pass, weights: this.#head, tokens: 1, rows: 1 };
    const logits = computeLogits(last, spec, headInputs(last, spec, x), 0, 1);
    return asFloat32(await backend.read(logits, 0, 4 * spec.vocabSize));
  }

  destroy(): void {
    this.#tokenInputs?.destroy();
    this.#embedding.destroy();
    for (const part of [this.#head, this.#blocks, this.#workspace, ...new Set(this.#caches)]) part.destroy();
  }
}
