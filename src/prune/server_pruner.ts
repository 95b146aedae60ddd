/**
 * Prunes models at servers. The statistics are read back from the device. If a block has a guard, each of its layers is
 * sent with its target and without it, unless an earlier process has decided already. The solutions stay in host memory
 * until the guard has decided.
 */

import type { LayerEvent, ModelPruner, ModelQuery, PruneEvent, QueryOf } from "../client/model_pruner.ts";
import type { LayerGroup, ModelSource } from "../client/model_source.ts";
import type { CallOptions } from "../client/transport.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import type { CalibratedPruner } from "./device_pruner.ts";
import { type HostModel, withStatisticsInHostMemory } from "./host_statistics.ts";
import type { Solutions, TargetGuard } from "./open_round.ts";
import { wholeWeight, withErrors, withoutTarget } from "./target_guard.ts";

/** Returns a pruner that reads the statistics back for `client`, which sends them to servers. */
export function serverPruner(client: ModelPruner): CalibratedPruner {
  return {
    pruneModel: (source, ...options) =>
      pruneAtServers(client, withStatisticsInHostMemory(source), ...options),
  };
}

/** Prunes a model whose statistics are in host memory at the servers of `client`. @throws as `ModelPruner.pruneModel` */
export async function* pruneAtServers(
  client: ModelPruner,
  source: HostModel,
  query: ModelQuery = {},
  options: CallOptions = {},
): AsyncGenerator<PruneEvent, void, void> {
  const trials = new TargetTrials(typeof query === "function" ? query : () => query);
  const { layerCount } = source;
  const sent: ModelSource = { layerCount, groups: () => trials.groups(source) };
  let done = 0;
  for await (const event of client.pruneModel(sent, (name) => trials.queryOf(name), options)) {
    for (const layer of trials.takeDecided()) yield { ...layer, done: ++done };
    if (event.type !== "layer") yield { ...event, layers: layerCount };
    else if (!trials.hold(event)) yield { ...event, done: ++done };
  }
}

/** The end of the name of a layer that is sent without its target. */
const WITHOUT_TARGET = " (without its target)";

/** Returns the name of the layer, and the solution that the client calls `sent`. */
function layerAndSolutionOf(sent: string): { readonly name: string; readonly which: keyof Solutions } {
  return sent.endsWith(WITHOUT_TARGET)
    ? { name: sent.slice(0, -WITHOUT_TARGET.length), which: "without" }
    : { name: sent, which: "withTargets" };
}

/** A layer that waits for the decision of its guard, with the solutions so far. */
interface TriedLayer {
  readonly group: LayerGroup;
  /** Whether it is also sent with its target. */
  readonly isOpen: boolean;
  readonly solutions: Partial<Record<keyof Solutions, Parameters<LayerGroup["replace"]>>>;
  readonly events: Partial<Record<keyof Solutions, LayerEvent>>;
}

/** The layers of guarded blocks, each of which is sent in one or two ways. */
class TargetTrials {
  readonly #tried = new Map<string, TriedLayer>();
  readonly #decided: LayerEvent[] = [];

  constructor(private readonly ownQueryOf: QueryOf) {}

  queryOf(sent: string): LayerQuery {
    const { name, which } = layerAndSolutionOf(sent), query = this.ownQueryOf(name);
    return which === "without" ? withoutTarget(query, this.#tried.get(name)!.isOpen) : query;
  }

  /** Yields the groups as they are sent. When the next round is requested, the layers of the last one are replaced. */
  async *groups(source: HostModel): ReturnType<ModelSource["groups"]> {
    for await (const group of source.groups()) {
      const { guard } = group;
      if (!guard || guard.decided === true) {
        yield group;
        continue;
      }
      yield this.#triedGroup(group, guard.decided === undefined);
      if (!group.hasMoreInRound) await this.#decide(guard);
    }
  }

  /** @param isOpen whether the layers are also sent with their targets */
  #triedGroup(group: LayerGroup, isOpen: boolean): LayerGroup {
    for (const { name } of group.layers) this.#tried.set(name, { group, isOpen, solutions: {}, events: {} });
    const layers = group.layers.flatMap(({ target, validationTarget, ...layer }) => {
      const without = { ...layer, name: layer.name + WITHOUT_TARGET };
      return isOpen ? [{ ...layer, target, validationTarget }, without] : [without];
    });
    const replace: LayerGroup["replace"] = (sent, ...solution) => {
      const { name, which } = layerAndSolutionOf(sent);
      this.#tried.get(name)!.solutions[which] = [name, ...solution];
      return Promise.resolve();
    };
    return { ...group, layers, replace };
  }

  async #decide(guard: TargetGuard): Promise<void> {
    const weightOf = ({ group, solutions }: TriedLayer, which: keyof Solutions) => {
      const [name, weight, , kept] = solutions[which]!;
      return wholeWeight({ group, name, weight, kept });
    };
    const areKept = guard.decided ?? await guard.decide(
      new Map(
        Array.from(this.#tried, ([name, layer]) => [name, {
          withTargets: weightOf(layer, "withTargets"),
          without: weightOf(layer, "without"),
        }]),
      ),
    );
    const which = areKept ? "withTargets" : "without";
    for (const [name, { group, solutions, events }] of this.#tried) {
      await group.replace(...solutions[which]!);
      const { report, ...event } = events[which]!, first = events.withTargets?.report;
      this.#decided.push({ ...event, name, report: areKept || !first ? report : withErrors(report, first) });
    }
    this.#tried.clear();
  }

  /** Keeps the event of a layer that waits for a decision. Returns whether it does. */
  hold(event: LayerEvent): boolean {
    const { name, which } = layerAndSolutionOf(event.name), layer = this.#tried.get(name);
    if (layer) layer.events[which] = event;
    return layer !== undefined;
  }

  /** Returns the events of the layers that were replaced since the last call. */
  takeDecided(): LayerEvent[] {
    return this.#decided.splice(0);
  }
}
