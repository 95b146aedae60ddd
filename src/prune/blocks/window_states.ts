/** The hidden states that a run has at a host, of all its windows or of a part of them. Lost states are created again. */

import { ModelError } from "../../base/files/file_error.ts";
import { ConnectionError, PareError } from "../../client/errors.ts";
import { type TensorSource, withReplacements } from "../../model/checkpoint/tensor_source.ts";
import { blockTensors, embeddingTensors, type NamedShape } from "../../model/families/check_tensors.ts";
import type { Model } from "../../model/model.ts";
import { distinctIds, requireNoTokenInputs } from "../../model/token_inputs.ts";
import { PRUNED, VALIDATION_WINDOWS, WINDOWS } from "../../protocol/blocks/block_names.ts";
import { tensorBytes } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { BlockPlan } from "../block_plan.ts";
import type { CalibrationOptions } from "../steps.ts";
import type { BlockTensors, SentTensor } from "../../client/request_body.ts";
import { type BlockHost, isStatesNotFound } from "../../client/blocks/block_host.ts";

/** The number of times that the states of one block are created again, for example after the host was restarted. */
const MAX_REBUILDS = 5;

/** A run whose blocks are run at hosts. */
export interface RemoteRun {
  readonly model: Model;
  /** The object in config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly options: CalibrationOptions;
  readonly plan: BlockPlan;
  /** The names of the trained tensors of each reconstructed block. The run adds those that it trains. */
  readonly trained: Map<number, readonly string[]>;
  /** Called before the states are created again and run through the blocks before `block`. */
  readonly onRebuild?: (block: number) => void;
}

export type Windows = Pick<CalibrationOptions, "windows" | "validationWindows">;

/** Returns the host that gets the states of one that still fails transiently after all retries, if there is another one. */
export type ReplaceHost = (lost: BlockHost, error: PareError | ConnectionError) => BlockHost | undefined;

export class WindowStates {
  /** The block whose inputs the host has. Undefined until the host was asked. */
  nextBlock?: number;
  /** The number of times that the states were created. */
  creations = 0;

  /** @param replaceHost by default, the error of a host is thrown */
  constructor(
    private host: BlockHost,
    private readonly run: RemoteRun,
    private readonly windows: Windows,
    private readonly replaceHost: ReplaceHost = () => undefined,
  ) {}

  /**
   * Calls `request` when the host has the states before `block`. If it has lost them, they are created again.
   * @param isAnswered returns whether the host, with the states before the block `next`, repeats its answer to the request
   * @throws {PareError} {ConnectionError} {MalformedAnswerError}
   */
  async before<T>(
    block: number,
    request: (host: BlockHost) => Promise<T>,
    isAnswered: (next: number) => boolean = () => false,
  ): Promise<T> {
    const { options: { signal }, onRebuild } = this.run;
    let isLost = false;
    for (let rebuilds = 0;; rebuilds++) {
      try {
        this.nextBlock = isLost ? undefined : this.nextBlock ?? await this.host.nextBlock({ signal });
        if (this.nextBlock === undefined || this.nextBlock > block && !isAnswered(this.nextBlock)) {
          if (block > 0) onRebuild?.(block);
          await this.#create();
        }
        await this.#advance(block);
        return await request(this.host);
      } catch (error) {
        isLost = isStatesNotFound(error);
        if (isLost && rebuilds < MAX_REBUILDS) continue;
        const isOfHost = (error instanceof ConnectionError || error instanceof PareError) &&
          error.isTransient;
        const other = isOfHost ? this.replaceHost(this.host, error) : undefined;
        if (!other) throw error;
        this.host = other;
        this.nextBlock = undefined;
      }
    }
  }

  /** Deletes the states. @throws as `BlockHost.delete` */
  async delete(): Promise<void> {
    await this.host.delete({ signal: this.run.options.signal });
  }

  async #create(): Promise<void> {
    const { options: { signal }, config } = this.run,
      { names, target, tensors } = statesOfRun(this.run, this.windows);
    await this.host.create(config, names, tensors, { target, signal });
    this.nextBlock = 0;
    this.creations++;
  }

  /** Runs the states through the blocks before `block`, as they are after this run has pruned them. */
  async #advance(block: number): Promise<void> {
    const { options: { signal } } = this.run;
    for (let next = this.nextBlock!; next < block; next++) {
      await this.host.run({ kind: "run", block: next }, this.#prunedTensors(next), undefined, { signal });
      this.nextBlock = next + 1;
    }
  }

  /** Returns a block that is pruned. With targets, the states of the dense model run through the dense block. */
  #prunedTensors(block: number): BlockTensors {
    const { plan, model, options: { readFinished, hasTargets }, trained } = this.run;
    const tensors = new Map(tensorsOfBlock(model, block));
    for (const name of new Set([...plan.chosenLayers(block), ...trained.get(block) ?? []])) {
      if (!readFinished) {
        throw new Error(
          `${name}: the host has lost the hidden states, and the pruned weights are not stored`,
        );
      }
      const { dtype, shape } = model.weights.info(name), byteLength = tensorBytes(dtype, shape);
      const chunks = async function* () {
        yield (await readFinished(name)).data;
      };
      tensors.set(hasTargets ? PRUNED + name : name, { dtype, shape, data: { byteLength, chunks } });
    }
    return tensors;
  }
}

/**
 * Returns what creates the states of `windows`: the names of the tensors of the first block, by which a host tells the
 * variants of a family apart, and the windows with the tensors of the model before this block. The table of tokens has only
 * the rows of the ids in `windows`, and the windows that are sent have the indices of these rows as their ids.
 * @throws {ModelError} if an id has no row in the table, or if hosts do not run the blocks of the model
 */
export function statesOfRun(
  { model: { spec, weights }, options }: RemoteRun,
  { windows, validationWindows = [] }: Windows,
) {
  requireNoTokenInputs(spec);
  const ids = distinctIds([...windows, ...validationWindows]), { tokens } = spec.embedding;
  const rowOf = new Map(Array.from(ids, (id, row) => [id, row]));
  const tensors = new Map<string, SentTensor>(storedTensors(weights, embeddingTensors(spec)));
  tensors.set(tokens, rowsTensor(weights, tokens, ids)).set(WINDOWS, windowsTensor(windows, rowOf));
  if (validationWindows.length > 0) tensors.set(VALIDATION_WINDOWS, windowsTensor(validationWindows, rowOf));
  return {
    names: blockTensors(spec, 0).map(([name]) => name),
    target: options.hasTargets ? "dense" as const : "none" as const,
    tensors,
  };
}

/** Returns the tensors of a dense block. @param weights the weights. @default the weights of the model */
export function tensorsOfBlock(
  { spec, weights: dense }: Model,
  block: number,
  weights: TensorSource = dense,
): BlockTensors {
  return storedTensors(weights, blockTensors(spec, block));
}

/** Returns the tensors of a block some of whose weights are replaced. @param hasDense whether the dense ones are also needed */
export function prunedBlock(
  model: Model,
  block: number,
  replaced: ReadonlyMap<string, HostTensor>,
  hasDense = false,
): BlockTensors {
  if (!hasDense) return tensorsOfBlock(model, block, withReplacements(model.weights, replaced));
  const pruned = Array.from(replaced, ([name, tensor]) => [PRUNED + name, tensor] as const);
  return new Map([...tensorsOfBlock(model, block), ...pruned]);
}

/** The bytes of a tensor that are read at once. The next ones are read while they are sent. */
const READ_BYTES = 2 ** 20;

function storedTensors(source: TensorSource, named: readonly NamedShape[]): BlockTensors {
  return new Map(named.map(([name]) => {
    const { dtype, shape } = source.info(name), byteLength = tensorBytes(dtype, shape);
    const chunks = async function* () {
      for (let start = 0; start < byteLength; start += READ_BYTES) {
        yield await source.read(name, start, Math.min(READ_BYTES, byteLength - start));
      }
    };
    return [name, { dtype, shape, data: { byteLength, chunks } }];
  }));
}

/** Returns the rows `ids` of a table as a tensor, which is read when it is sent. @throws {ModelError} if there is no such row */
function rowsTensor(source: TensorSource, name: string, ids: Uint32Array): SentTensor {
  const { dtype, shape: [rows, cols] } = source.info(name), rowBytes = tensorBytes(dtype, [cols]);
  const unknown = ids.find((id) => id >= rows);
  if (unknown !== undefined) {
    throw new ModelError(`${name}: has no row ${unknown}; the number of rows is ${rows}`);
  }
  const chunkRows = Math.ceil(READ_BYTES / rowBytes);
  const chunks = async function* () {
    for (let first = 0; first < ids.length; first += chunkRows) {
      const wanted = ids.subarray(first, first + chunkRows), chunk = new Uint8Array(wanted.length * rowBytes);
      for (const [i, id] of wanted.entries()) {
        chunk.set(await source.read(name, id * rowBytes, rowBytes), i * rowBytes);
      }
      yield chunk;
    }
  };
  return { dtype, shape: [ids.length, cols], data: { byteLength: ids.length * rowBytes, chunks } };
}

/** Returns the rows of the tokens of windows as a tensor, U32 [windows, tokens]. */
function windowsTensor(windows: readonly Uint32Array[], rowOf: ReadonlyMap<number, number>): HostTensor {
  const tokens = windows[0].length, rows = new Uint32Array(windows.length * tokens);
  for (const [i, window] of windows.entries()) rows.set(window.map((id) => rowOf.get(id)!), i * tokens);
  return { dtype: "U32", shape: [windows.length, tokens], data: new Uint8Array(rows.buffer) };
}
