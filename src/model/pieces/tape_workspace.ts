import type { DeviceBuffer } from "../../device/backend.ts";
import { ForwardWorkspace } from "../forward_workspace.ts";

/**
 * The workspace of a pass with a tape, which needs all activations until its backward pass is queued. So no buffer is returned twice
 * between two calls of `reuse`, even under the same name.
 */
export class TapeWorkspace extends ForwardWorkspace {
  /** The number of buffers with each name that are in use. */
  readonly #used = new Map<string, number>();

  override buffer(name: string, count: number): DeviceBuffer {
    const used = this.#used.get(name) ?? 0;
    this.#used.set(name, used + 1);
    return super.buffer(`${name} ${used}`, count);
  }

  /** Makes all buffers available to the next pass. */
  reuse(): void {
    this.#used.clear();
  }
}
