/** Computes the logits of one model for the rows for which another model has just computed its logits. */

import type { DeviceBuffer } from "../../device/backend.ts";
import type { DeviceWeights } from "../device_weights.ts";
import type { Forward } from "../forward.ts";
import { computeLogits, headInputs, hiddenOf, loadHead } from "../head.ts";
import type { BlockPass } from "../pieces/block_pass.ts";

/** The batch whose logits are computed. Row 0 of its inputs belongs to the first token of the batch, which has the number `firstRow`. */
interface OpenBatch {
  readonly pass: BlockPass;
  readonly inputs: DeviceBuffer;
  readonly firstRow: number;
}

/** A row belongs to a token. The rows have the numbers of `LogitsChunk.firstRow`. The blocks of the model must have run before. */
export class ReferenceLogits implements AsyncDisposable {
  /** The numbers of the first rows of the batches. A request must not go beyond the end of a batch. */
  readonly starts: readonly number[];
  readonly #forward: Forward;
  readonly #head: DeviceWeights;
  readonly #copies: AsyncGenerator<DeviceBuffer, void>;
  #opened = 0;
  #open?: OpenBatch;

  private constructor(forward: Forward, head: DeviceWeights) {
    this.#forward = forward;
    this.#head = head;
    this.#copies = forward.hiddenStates.copies();
    this.starts = forward.hiddenStates.batches.map(({ first }) => first * forward.tokens);
  }

  /** Loads the head. @throws {ModelError} if its weights do not fit the configuration */
  static async open(forward: Forward): Promise<ReferenceLogits> {
    return new ReferenceLogits(forward, await loadHead(forward.backend, forward.model));
  }

  /**
   * Queues computing the logits of rows `firstRow` … `firstRow + rows − 1`. Rows must be requested in ascending order.
   * @returns (rows, vocabSize) f32, valid until the next call
   */
  async compute(firstRow: number, rows: number): Promise<DeviceBuffer> {
    while (firstRow >= (this.starts[this.#opened] ?? Infinity)) this.#open = await this.#next();
    const { pass, inputs, firstRow: start } = this.#open!;
    return computeLogits(pass, this.#forward.model.spec, inputs, firstRow - start, rows);
  }

  async #next(): Promise<OpenBatch> {
    const { value: states } = await this.#copies.next(), index = this.#opened++;
    const batch = this.#forward.hiddenStates.batches[index], pass = this.#forward.pass(this.#head, batch);
    const inputs = headInputs(pass, this.#forward.model.spec, hiddenOf(this.#forward, states!, batch));
    return { pass, inputs, firstRow: this.starts[index] };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#copies.return();
    } finally {
      this.#head.destroy();
      this.#forward.freeActivations();
    }
  }
}
