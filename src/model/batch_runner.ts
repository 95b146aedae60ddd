/**
 * Runs blocks on the states of one batch. In most models, the states of a token are its hidden states, and a block runs on them in place. In
 * other models, the states also have keys and values that blocks share, or each block has inputs that depend on the ids of the tokens.
 */

import type { Backend, DeviceBuffer } from "../device/backend.ts";
import { copy2d } from "../device/kernels/transfer/copy2d.ts";
import type { Batch } from "./batches.ts";
import type { ForwardWorkspace } from "./forward_workspace.ts";
import { countColumns } from "./hidden_states/state_columns.ts";
import type { Model } from "./model.ts";
import type { BlockPass } from "./pieces/block_pass.ts";
import { distinctIds, inputsOfBlock } from "./token_inputs.ts";

/** The inputs of a block on some windows. The block overwrites the hidden states `x`, (rows, hiddenSize) f32. */
export interface BlockInputs extends Pick<BlockPass, "sharedKeys" | "tokenInputs"> {
  readonly x: DeviceBuffer;
}

/** Consecutive windows of a batch. `offset` is the index of the first one in the batch. */
export interface BatchPart {
  readonly offset: number;
  readonly count: number;
}

export class BatchRunner {
  readonly #tokenInputs?: WindowInputs;

  /** @param windows the token ids, which only models with `tokenInputs` need */
  constructor(
    readonly backend: Backend,
    readonly workspace: ForwardWorkspace,
    readonly model: Model,
    readonly tokens: number,
    windows: readonly Uint32Array[],
  ) {
    const { tokenInputs } = model.spec;
    if (tokenInputs) this.#tokenInputs = new WindowInputs(backend, model, tokenInputs.size, windows);
  }

  /** Queues block `index` in place on `states`, the states of `batch`. */
  async run(index: number, pass: BlockPass, states: DeviceBuffer, batch: Batch): Promise<void> {
    const { hiddenSize: cols, sharedColumns = 0 } = this.model.spec, block = this.model.spec.block(index);
    if (!this.#tokenInputs && sharedColumns === 0) return await block.forward(pass, states, index);
    const whole = { offset: 0, count: batch.count };
    const { x, ...further } = await this.inputsOf(index, states, batch, whole, "of a batch");
    await block.forward({ ...pass, ...further }, x, index);
    const places = { source_offset: 0, source_ld: cols, target_offset: 0, target_ld: cols + sharedColumns };
    this.backend.dispatch(copy2d, { source: x, target: states }, { rows: pass.rows, cols, ...places });
  }

  /**
   * Queues copying the hidden states of `part`. The block may change the shared keys and values in `states`.
   * @param states the states of `batch`
   * @param name distinguishes the buffers of the result, which are valid until the next call with the same name
   */
  async inputsOf(
    index: number,
    states: DeviceBuffer,
    { first }: Batch,
    part: BatchPart,
    name: string,
  ): Promise<BlockInputs> {
    const { hiddenSize, sharedColumns = 0 } = this.model.spec, ld = countColumns(this.model.spec);
    const x = this.hiddenOf(states, part, `hidden states ${name}`);
    const offset = part.offset * this.tokens * ld + hiddenSize;
    const values = await this.#tokenInputs?.of(index, { first: first + part.offset, count: part.count });
    const tokenInputs = values && this.workspace.buffer(`inputs of tokens ${name}`, values.length);
    if (tokenInputs) this.backend.write(tokenInputs, 0, new Uint8Array(values.buffer));
    return { x, tokenInputs, sharedKeys: sharedColumns > 0 ? { buffer: states, offset, ld } : undefined };
  }

  /** Queues copying the hidden states of a part of a batch to the buffer `name`, (rows, hiddenSize) f32. */
  hiddenOf(states: DeviceBuffer, { offset, count }: BatchPart, name: string): DeviceBuffer {
    const { hiddenSize: cols } = this.model.spec, rows = count * this.tokens;
    const source_ld = countColumns(this.model.spec), source_offset = offset * this.tokens * source_ld;
    const x = this.workspace.buffer(name, rows * cols), buffers = { source: states, target: x };
    const places = { source_offset, source_ld, target_offset: 0, target_ld: cols };
    this.backend.dispatch(copy2d, buffers, { rows, cols, ...places });
    return x;
  }
}

/** The inputs for the tokens of some windows. Host memory has the inputs of one block at a time, with one row per distinct id. */
class WindowInputs {
  readonly #ids: Uint32Array;
  readonly #places: ReadonlyMap<number, number>;
  #current?: { readonly block: number; readonly inputs: Float32Array };

  constructor(
    readonly backend: Backend,
    readonly model: Model,
    readonly size: number,
    readonly windows: readonly Uint32Array[],
  ) {
    this.#ids = distinctIds(windows);
    this.#places = new Map(Array.from(this.#ids, (id, place) => [id, place * size]));
  }

  /** Returns the inputs of `block` for all tokens of `batch`, (rows, size) f32. */
  async of(block: number, { first, count }: Batch): Promise<Float32Array<ArrayBuffer>> {
    const { backend, model, size } = this;
    if (this.#current?.block !== block) {
      this.#current = { block, inputs: await inputsOfBlock(backend, model, block, this.#ids) };
    }
    const { inputs } = this.#current;
    const windows = this.windows.slice(first, first + count), tokens = windows[0].length;
    const gathered = new Float32Array(count * tokens * size);
    for (const [w, window] of windows.entries()) {
      for (const [t, id] of window.entries()) {
        const place = this.#places.get(id)!;
        gathered.set(inputs.subarray(place, place + size), (w * tokens + t) * size);
      }
    }
    return gathered;
  }
}
