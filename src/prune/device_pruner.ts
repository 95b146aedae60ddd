/** Prunes the layers of a model on a device of this process, without HTTP between the calibration and the solver. */

import { abortable } from "../base/waiting.ts";
import type { Backend } from "../device/backend.ts";
import { freeArray } from "../device/host_memory.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import type { HessianAccumulator } from "../layer/calibration/hessian.ts";
import type { CallOptions } from "../client/transport.ts";
import { PareError } from "../client/errors.ts";
import { type LayerTensors, ownTensors, type PrunedLayer } from "../client/layer_file.ts";
import type { ModelPruner, ModelQuery, PruneEvent, QueryOf } from "../client/model_pruner.ts";
import { pruneRounds, type RoundLayer } from "../client/prune_rounds.ts";
import { checkStatistics } from "../layer/check_answer.ts";
import { layerRefusal } from "../layer/errors.ts";
import { pruneTensors } from "../layer/handle_layer.ts";
import { DEFAULT_STORE_BYTES, LentStatistics } from "../layer/loan.ts";
import type { TensorsRequest } from "../layer/read_layer.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import { layerQuerySchema, resolveParameters } from "../protocol/parameters.ts";
import { PROBLEMS } from "../protocol/problem_codes.ts";
import { invalidParameters, Refusal } from "../protocol/refusal.ts";
import type { Model } from "../model/model.ts";
import type { CalibrationOptions } from "./calibrated_model.ts";
import type { CalibratedGroup, CalibratedModel, Solutions, TargetGuard } from "./open_round.ts";
import { wholeWeight, withErrors, withoutTarget } from "./target_guard.ts";

/** Prunes models whose statistics are on a device. */
export interface CalibratedPruner extends ModelPruner<HessianAccumulator> {
  /**
   * Presents a model in the place of `calibratedModel`, for example if another machine calibrates it.
   * @param queryOf returns the parameters of a layer, without `token_weights`, which `options` has
   */
  calibrate?(model: Model, options: CalibrationOptions, queryOf: QueryOf): CalibratedModel;
}

/** Prunes layers on one device. If a server would refuse a layer, it throws a `PareError` with the same message. */
export class DevicePruner implements CalibratedPruner {
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

  /** Prunes a model. @throws as `ModelPruner.pruneModel` */
  pruneModel(
    source: CalibratedModel,
    query: ModelQuery = {},
    options: CallOptions = {},
  ): AsyncGenerator<PruneEvent, void, void> {
    return pruneRounds(source, query, (...args) => this.#solveRound(...args), options);
  }

  /**
   * Solves the layers of one round in order. Each is solved while the caller stores the one before it. If a guard still
   * has to decide about targets, all layers are solved with and without targets before the first one is yielded.
   */
  async *#solveRound(
    groups: AsyncGenerator<CalibratedGroup, void, undefined>,
    queryOf: QueryOf,
    { signal }: CallOptions,
  ): AsyncGenerator<RoundLayer<HessianAccumulator>, void, void> {
    let solved: SolvedLayer | undefined;
    const tried: TriedLayer[] = [];
    for await (const group of groups) {
      const hessian = group.hessian?.take(), validation = hessian && group.validationHessian?.take();
      const { guard } = group, isTried = guard !== undefined && guard.decided === undefined;
      const isShared = group.layers.length > 1 || isTried;
      const lent = hessian && isShared
        ? new LentStatistics(hessian, DEFAULT_STORE_BYTES[this.backend.kind], validation)
        : undefined;
      const statistics = lent ? { loan: lent } : { hessian, validation };
      let running: Promise<unknown> = this.#check(hessian, validation);
      try {
        for (const layer of group.layers) {
          signal?.throwIfAborted();
          const { name, weight } = layer, checked = running, query = queryOf(name);
          const solve = async (hasTarget: boolean) => {
            const given = hasTarget
              ? {
                target: group.hessian?.target(weight),
                validationTarget: group.validationHessian?.target(weight),
              }
              : {};
            const own = hasTarget ? query : withoutTarget(query, isTried);
            const pruned = await this.#prune(ownTensors(layer), own, { ...statistics, ...given });
            return { group, name, ...pruned };
          };
          const solving = checked.then(async () => {
            const solution = await solve(guard?.decided ?? true), other = isTried && await solve(false);
            const without = other && { ...other, report: withErrors(other.report, solution.report) };
            return { solution, without };
          });
          const pruning = answered(solving, name);
          running = pruning.catch(() => {}); // the error is thrown below, unless the caller has stopped before
          if (solved) {
            yield solved;
            freeArray(solved.mask.data);
          }
          solved = undefined;
          const { solution, without } = await abortable(pruning, signal);
          if (guard && without) tried.push({ guard, withTargets: solution, without });
          else solved = solution;
        }
      } finally {
        const owned = [lent ?? hessian, validation, group.hessian, group.validationHessian];
        const free = () => owned.forEach((matrix) => matrix?.destroy());
        const freed = running.then(free, free);
        if (!signal?.aborted) await freed;
      }
    }
    const decided = tried.length > 0 ? await abortable(decide(tried), signal) : [];
    for (const layer of solved ? [solved, ...decided] : decided) {
      yield layer;
      freeArray(layer.mask.data);
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

/** A solved layer. Its mask is freed when the next layer is requested. */
type SolvedLayer = RoundLayer<HessianAccumulator> & Pick<PrunedLayer, "mask">;

/** A layer that was solved with its target and without. */
interface TriedLayer extends Record<keyof Solutions, SolvedLayer> {
  readonly guard: TargetGuard;
}

/** Returns the solutions that the guard of the block chooses. */
async function decide(tried: readonly TriedLayer[]): Promise<SolvedLayer[]> {
  const solutions = tried.map(({ withTargets, without }) =>
    [withTargets.name, { withTargets: wholeWeight(withTargets), without: wholeWeight(without) }] as const
  );
  const areKept = await tried[0].guard.decide(new Map(solutions));
  return tried.map(({ withTargets, without }) => areKept ? withTargets : without);
}

/** Replaces an error by that of a client whose server refuses the layer. @param name begins the message */
async function answered<T>(layer: Promise<T>, name?: string): Promise<T> {
  try {
    return await layer;
  } catch (error) {
    const refusal = error instanceof Refusal ? error : layerRefusal(error);
    if (!refusal) throw error;
    const { code, message: detail, retryAfter } = refusal;
    const answer = new PareError(PROBLEMS[code].status, { code, detail }, retryAfter);
    answer.cause = error;
    if (name !== undefined) answer.message = `${name}: ${answer.message}`;
    throw answer;
  }
}
