/** Prunes the layers of a model on a device of this process, without HTTP between the calibration and the solver. */

import { abortable } from "../base/waiting.ts";
import type { Backend } from "../device/backend.ts";
import { freeArray } from "../device/host_memory.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import type { HessianAccumulator } from "../layer/calibration/hessian.ts";
import type { CallOptions } from "../client/transport.ts";
import { PareError } from "../client/errors.ts";
import { type LayerTensors, ownTensors, type PrunedLayer } from "../client/layer_file.ts";
import { withFewTokens } from "../client/few_tokens.ts";
import type { LayerQueryOf, RoundLayer, SolveRound } from "../protocol/run/solve_round.ts";
import { checkStatistics } from "../layer/check_answer.ts";
import { layerRefusal } from "../layer/errors.ts";
import { pruneTensors } from "../layer/handle_layer.ts";
import { DEFAULT_STORE_BYTES, LentStatistics } from "../layer/loan.ts";
import type { TensorsRequest } from "../layer/read_layer.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import { layerQuerySchema, resolveParameters } from "../protocol/parameters.ts";
import { PROBLEMS } from "../protocol/problem_codes.ts";
import { invalidParameters } from "../protocol/refusal.ts";
import type { CalibratedGroup } from "./open_block.ts";
import type { RoundSolver } from "./steps.ts";

/** Prunes layers on one device. If a server would refuse a layer, it throws a `PareError` with the same message. */
export class DevicePruner implements RoundSolver {
  /** @param backend solves one layer at a time. Its owner disposes of it */
  constructor(readonly backend: Backend) {}

  /** Prunes one layer. @throws {PareError}, and the signal's reason as soon as the signal is aborted */
  async pruneLayer(
    tensors: LayerTensors,
    query: LayerQuery = {},
    { signal }: CallOptions = {},
  ): Promise<PrunedLayer> {
    signal?.throwIfAborted();
    return await abortable(answered(this.#prune(tensors, query)), signal);
  }

  /** Solves the layers of one round in order. Each layer is solved while the caller stores the previous layer. */
  readonly solveRound: SolveRound<HessianAccumulator> = withFewTokens((...args) => this.#solveRound(...args));

  async *#solveRound(
    groups: AsyncGenerator<CalibratedGroup, void, undefined>,
    queryOf: LayerQueryOf,
    { signal }: CallOptions,
  ): AsyncGenerator<RoundLayer, void, void> {
    let solved: RoundLayer & Pick<PrunedLayer, "mask"> | undefined;
    for await (const group of groups) {
      const hessian = group.hessian?.take(), validation = hessian && group.validationHessian?.take();
      const lent = hessian && group.layers.length > 1
        ? new LentStatistics(hessian, DEFAULT_STORE_BYTES[this.backend.kind], validation)
        : undefined;
      const statistics = lent ? { loan: lent } : { hessian, validation };
      let running: Promise<unknown> = this.#check(hessian, validation);
      try {
        for (const layer of group.layers) {
          signal?.throwIfAborted();
          const { name, weight, solution } = layer, checked = running, query = queryOf(layer);
          const pruning = answered(
            checked.then(() => {
              const targets = solution === "without" ? {} : {
                target: group.hessian?.target(weight),
                validationTarget: group.validationHessian?.target(weight),
              };
              return this.#prune(ownTensors(layer), query, { ...statistics, ...targets });
            }),
            name,
          );
          running = pruning.catch(() => {}); // the error is thrown below, unless the caller has stopped before
          if (solved) {
            yield solved;
            freeArray(solved.mask.data);
          }
          solved = undefined;
          solved = { group, layer, ...await abortable(pruning, signal) };
        }
      } finally {
        const owned = [lent ?? hessian, validation, group.hessian, group.validationHessian];
        const free = () => owned.forEach((matrix) => matrix?.destroy());
        const freed = running.then(free, free);
        if (!signal?.aborted) await freed;
      }
    }
    if (solved) {
      yield solved;
      freeArray(solved.mask.data);
    }
  }

  async #check(hessian: TiledMatrix | undefined, validation: TiledMatrix | undefined): Promise<void> {
    if (hessian) await checkStatistics(this.backend, hessian);
    if (validation) await checkStatistics(this.backend, validation, "validation_hessian_upper");
  }

  /** Prunes a layer whose statistics are among its tensors or on the device. */
  async #prune(
    layer: LayerTensors,
    query: LayerQuery,
    statistics: Omit<TensorsRequest, "tensors" | "parameters"> = {},
  ): Promise<PrunedLayer> {
    const parsed = layerQuerySchema.safeParse(query);
    if (!parsed.success) throw invalidParameters(parsed.error, query);
    const given = Object.entries(layer).filter(([, tensor]) => tensor !== undefined);
    const request = { ...statistics, tensors: new Map(given), parameters: resolveParameters(parsed.data) };
    const options = { backend: this.backend, clock: () => performance.now() };
    const { tensors, report } = await pruneTensors(request, options);
    const [weight, kept, mask, codes, scales, zeros] = ["weight", "kept", "mask", "codes", "scales", "zeros"]
      .map((name) => tensors.get(name)!);
    return { ...kept && { kept }, weight, mask, ...codes && { quantized: { codes, scales, zeros } }, report };
  }
}

/** Replaces an error by the error that a client throws if its server refuses the layer. @param name begins the message */
async function answered<T>(layer: Promise<T>, name?: string): Promise<T> {
  try {
    return await layer;
  } catch (error) {
    const refusal = layerRefusal(error);
    if (!refusal) throw error;
    const { code, message: detail, retryAfter } = refusal;
    const answer = new PareError(PROBLEMS[code].status, { code, detail }, retryAfter);
    answer.cause = error;
    if (name !== undefined) answer.message = `${name}: ${answer.message}`;
    throw answer;
  }
}
