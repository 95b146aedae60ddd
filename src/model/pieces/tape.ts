/**
 * Records a forward pass of a block, so that gradients can be computed in the reverse order (reverse-mode automatic differentiation). Each
 * function in this folder that queues kernels records a step, which queues the kernels of its backward pass.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import type { TapeWorkspace } from "./tape_workspace.ts";

/** The contents that a buffer had when it was saved. */
export interface SavedBuffer {
  /** The buffer itself, or a copy if its contents have changed since. */
  readonly buffer: DeviceBuffer;
}

/** The tape of one pass. The memory of gradients and copies belongs to the workspace of the pass. */
export class Tape {
  readonly #steps: (() => void)[] = [];
  readonly #saved = new Map<DeviceBuffer, { buffer: DeviceBuffer }[]>();
  readonly #gradients = new Map<DeviceBuffer, DeviceBuffer>();

  constructor(
    readonly backend: Backend,
    readonly workspace: TapeWorkspace,
    /** Returns the buffer to which the gradient of a parameter is added, in the layout of the parameter, or undefined if it is not trained. */
    readonly parameterGradient: (parameter: DeviceBuffer) => DeviceBuffer | undefined,
  ) {}

  /**
   * Saves the contents of `buffer` for a step of the backward pass. A function that changes an activation in place calls
   * {@link beforeChange} first, which copies the saved contents. All other buffers need no copy.
   */
  save(buffer: DeviceBuffer): SavedBuffer {
    const saved = { buffer };
    const others = this.#saved.get(buffer);
    if (others) others.push(saved);
    else this.#saved.set(buffer, [saved]);
    return saved;
  }

  /** Must be called before commands that change `buffer` are queued. */
  beforeChange(buffer: DeviceBuffer): void {
    const saved = this.#saved.get(buffer);
    if (!saved) return;
    const copy = this.workspace.buffer("saved", buffer.byteLength / 4);
    this.backend.copy(buffer, 0, copy, 0, buffer.byteLength);
    for (const one of saved) one.buffer = copy;
    this.#saved.delete(buffer);
  }

  /**
   * Records a step of the backward pass. `step` receives the gradient of `output`, in the layout of `output`. It is not called if the loss
   * does not depend on `output`.
   */
  record(output: DeviceBuffer, step: (gradient: DeviceBuffer) => void): void {
    this.#steps.push(() => {
      const gradient = this.#gradients.get(output);
      if (gradient) step(gradient);
    });
  }

  /** Returns the buffer to which the gradient of the activation `buffer` is added. It is 0 at first. */
  gradient(buffer: DeviceBuffer): DeviceBuffer {
    let gradient = this.#gradients.get(buffer);
    if (!gradient) {
      gradient = this.workspace.buffer("gradient", buffer.byteLength / 4);
      this.backend.clear(gradient);
      this.#gradients.set(buffer, gradient);
    }
    return gradient;
  }

  /** Records that all contents of `source` are copied to `target`, whose earlier contents have no effect on the loss from then on. */
  recordCopy(source: DeviceBuffer, target: DeviceBuffer): void {
    this.beforeChange(target);
    this.record(target, (gradient) => {
      this.#gradients.set(source, gradient);
      this.#gradients.delete(target);
    });
  }

  /** Queues the backward pass. The caller has written the gradient of the loss to the gradient of the last output. */
  backward(): void {
    for (const step of this.#steps.reverse()) step();
  }
}
