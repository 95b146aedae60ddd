/** The states with which a forward pass begins. */

import type { Backend } from "../device/backend.ts";
import type { Batch } from "./batches.ts";
import { Embedding } from "./embedding.ts";
import type { ModelSpec } from "./families/family.ts";
import type { HiddenStates } from "./hidden_states/hidden_states.ts";
import { countColumns, withColumns } from "./hidden_states/state_columns.ts";
import type { Model } from "./model.ts";

/** The inputs of `block`. `read` returns the inputs of a batch, (batch.count · tokens, columns of the states) f32, in new memory. */
export interface InitialStates {
  readonly block: number;
  read(batch: Batch): Promise<Float32Array<ArrayBuffer>>;
}

/** Fills each of `streams` with the embedded windows. */
export async function embedWindows(
  backend: Backend,
  model: Model,
  windows: readonly Uint32Array[],
  streams: readonly HiddenStates[],
): Promise<void> {
  if (streams.length === 0) return;
  const embedding = await Embedding.open(backend, model);
  const { read } = embeddedStates(model.spec, embedding, windows);
  for (const states of streams) await states.fill(read);
  embedding.destroy();
}

/** Returns the inputs of the first block. The columns that blocks share are 0. */
export function embeddedStates(
  spec: ModelSpec,
  embedding: Embedding,
  windows: readonly Uint32Array[],
): InitialStates {
  return {
    block: 0,
    async read({ first, count }) {
      const states = await embedding.gather(windows.slice(first, first + count));
      return withColumns(states, spec.hiddenSize, countColumns(spec));
    },
  };
}
