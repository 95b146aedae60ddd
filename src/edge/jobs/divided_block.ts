/**
 * Prunes a block of a model whose calibration windows are divided over several hosts. Each host has the hidden states of a
 * share of the windows. The statistics go from host to host in the order of the windows, as objects in the bucket, so the
 * number of hosts changes no bit of the pruned weights. If a host fails, another one gets its share.
 */

import { allDone } from "../../base/waiting.ts";
import { describeRounding } from "../../device/backend.ts";
import type { Digest } from "../../protocol/digest.ts";
import {
  type FinishedTask,
  type JoinTask,
  MAX_SHARES,
  type SolveTask,
  type SumTask,
  type TaskRequest,
} from "../../protocol/resources/tasks.ts";
import type { ChosenHost } from "../hosts/host_registry.ts";
import type { WokenHost } from "../hosts/woken_hosts.ts";
import { atHost, NoHostError } from "./at_host.ts";
import { awaitTask, signedSource } from "./await_task.ts";
import { HostBusyError, HostFailedError } from "./host_answer.ts";
import type { JobContext } from "./job_context.ts";
import type { BlockAttempt } from "./job_record.ts";
import { deleteAt, statesName, withStates } from "./restore_states.ts";
import { storeResult, type WrittenObject } from "./store_result.ts";

/**
 * Divides the windows of a job over the hosts that are alive when its first block begins, and that have the same device.
 * Another device rounds differently, so the result would depend on which host adds which windows.
 * @returns the attempt with the number of shares. It is 0 if there are too few windows or hosts, or if the blocks cannot be
 *   divided. Undefined if the job was cancelled
 * @throws as `atHost` and `awaitTask`
 */
export async function divideWindows(
  taskId: string,
  position: number,
  attempt: BlockAttempt,
  context: JobContext,
): Promise<BlockAttempt | undefined> {
  const { record, hosts, blobs, job } = context, { model: { states: windows, target } } = attempt;
  if (attempt.shares > 0 || attempt.lastHost !== undefined) return attempt;
  const groups = [...Map.groupBy(await hosts.aliveHosts(), describeRounding)];
  const [device, group] = groups.toSorted(([, a], [, b]) => b.length - a.length)[0] ?? ["", []];
  const alive = group.map(({ id }) => id), count = Math.min(alive.length, MAX_SHARES);
  if (count < 2 || !await record.isDivisible()) return attempt;
  // The host of the attempt before may fail again.
  const wanted = attempt.number > 1 ? alive[(attempt.number - 1) % alive.length] : undefined;
  const choose = (asleep?: string) => hosts.choose(taskId, undefined, asleep, wanted, device);
  return await atHost(taskId, position, choose, async (host) => {
    const { id: lastHost } = host, states = statesName(job, 0, count);
    const task = {
      id: `${taskId}.divide`,
      states,
      windows: await signedSource(blobs, windows),
      target,
      share: { index: 0, count },
    };
    const answer = await awaitTask(host, task, position, context);
    if (!answer) return undefined;
    const shares = Math.min(count, answer.shares ?? 1);
    if (shares < count) await deleteAt(host, states, `${taskId}.delete`, context);
    if (shares > 1) {
      await record.divide([lastHost, ...alive.filter((id) => id !== lastHost)].slice(0, shares), device);
      return { ...attempt, shares };
    }
    await record.assignHost(position, lastHost);
    return { ...attempt, lastHost };
  }, context);
}

/** Prunes the block, and records its result. @throws as `atHost` and `awaitTask` */
export async function solveDivided(
  taskId: string,
  position: number,
  attempt: BlockAttempt,
  context: JobContext,
): Promise<void> {
  const block = new DividedBlock(taskId, position, attempt, context);
  try {
    await block.solve();
  } catch (error) {
    if (!(error instanceof CancelledError)) throw error;
  } finally {
    await block.removeObjects();
  }
}

/** The job was cancelled while a task was running. */
class CancelledError extends Error {
  override name = "CancelledError";
}

/** Returns the members of a task that not every task about a block has. Their URLs are signed when the task is sent. */
type Members = () => Promise<
  | Pick<SumTask, "step" | "round" | "solved" | "earlier">
  | Pick<SolveTask, "sums" | "round" | "share">
  | Pick<JoinTask, "parts">
>;

class DividedBlock {
  /** The keys of the objects that other tasks read. */
  readonly #objects = new Set<string>();
  readonly #shares: readonly number[];

  constructor(
    private readonly taskId: string,
    private readonly position: number,
    private readonly attempt: BlockAttempt,
    private readonly context: JobContext,
  ) {
    this.#shares = Array.from({ length: attempt.shares }, (_, share) => share);
  }

  async solve(): Promise<void> {
    const parts: WrittenObject[] = [];
    for (let round = 0, rounds = 1; round < rounds; round++) {
      rounds = await this.#solveRound(round, parts);
    }
    // The last share has the held-out windows. The states of the others run through the block before the next one.
    const joined = await this.#write(this.#shares.length - 1, "join", async () => ({
      parts: await this.#sources(parts),
    }));
    this.#objects.delete(joined.key);
    await storeResult(joined, undefined, this.position, this.context);
  }

  /**
   * Has the hosts solve the layers of a round.
   * @param parts the solved layers of the rounds before. Those of this round are added
   * @returns the number of rounds
   */
  async #solveRound(round: number, parts: WrittenObject[]): Promise<number> {
    const { job } = this.context, count = this.#shares.length, solved = [...parts];
    const sum = async () => ({ step: "sum" as const, round, solved: await this.#sources(solved) });
    // The ids are those of earlier attempts, so that only a host that was lost computes its statistics again.
    const summed = await allDone(
      this.#shares.map((share) => this.#ask(share, `${job}.${this.position}.sum.${round}.${share}`, sum)),
    );
    let sums: WrittenObject | undefined;
    for (const share of this.#shares) {
      const earlier = sums;
      sums = await this.#write(share, `add.${round}`, async () => ({
        ...await sum(),
        ...earlier && { earlier: await this.#source(earlier) },
      }));
    }
    parts.push(
      ...await allDone(
        this.#shares.map((index) =>
          this.#write(
            index,
            `solve.${round}`,
            async () => ({ sums: await this.#source(sums!), round, share: { index, count } }),
          )
        ),
      ),
    );
    return Math.max(...summed.map(({ rounds = 1 }) => rounds));
  }

  /** Deletes the objects. All tasks that read them have ended, also if one of them has failed. */
  async removeObjects(): Promise<void> {
    if (this.#objects.size > 0) await this.context.blobs.remove([...this.#objects]);
  }

  #sources(objects: readonly WrittenObject[]) {
    return Promise.all(objects.map((object) => this.#source(object)));
  }

  async #source({ key, sha256 }: WrittenObject): Promise<{ readonly url: string; readonly sha256: Digest }> {
    return { url: await this.context.blobs.objectUrl(key), sha256 };
  }

  /** Runs a task that writes a file, and returns the object with the file. */
  async #write(share: number, name: string, members: Members): Promise<WrittenObject> {
    let key = "";
    const { host, result } = await this.#ask(share, `${this.taskId}.${name}.${share}`, async () => {
      const written = await this.context.blobs.writeUrl();
      key = written.key;
      this.#objects.add(key);
      return { ...await members(), result: { url: written.url } };
    });
    if (result) return { host, key, ...result };
    throw new HostFailedError(`host ${host.url}: has finished the task ${name} without a result`);
  }

  /** Runs a task at the host of the share, or at another one if this host has failed before. */
  async #ask(
    share: number,
    id: string,
    members: Members,
  ): Promise<FinishedTask & { readonly host: WokenHost }> {
    const { taskId, position, attempt, context } = this, { record, hosts, blobs } = context;
    const reservation = `${taskId}.${share}`,
      { host: last, hasFailed, device } = (await record.shares())[share];
    const choose = (asleep?: string) => {
      const isElsewhere = hasFailed || asleep !== undefined,
        avoided = isElsewhere ? asleep ?? last : undefined;
      return hosts.choose(reservation, undefined, avoided, isElsewhere ? undefined : last, device);
    };
    const work = async (host: ChosenHost) => {
      await record.assignShare(share, host.id);
      if (share === attempt.shares - 1) await record.assignHost(position, host.id);
      const askOnce = async () => {
        const { weight, parameters } = attempt.layer, states = statesName(context.job, share, attempt.shares);
        const block = await signedSource(blobs, weight);
        const task = { id, states, index: position, block, parameters, ...await members() } as TaskRequest;
        const finished = await awaitTask(host, task, position, context);
        return finished && { ...finished, host };
      };
      return await withStates(host, reservation, position, attempt, share, context, askOnce);
    };
    try {
      const answer = await atHost(reservation, position, choose, work, context);
      if (!answer) throw new CancelledError();
      return answer;
    } catch (error) {
      if (error instanceof HostFailedError || error instanceof HostBusyError) await record.failShare(share);
      if (!(error instanceof NoHostError && device)) throw error;
      const rule = "because the job began on it, and another device rounds differently";
      throw new NoHostError(`${error.message} with the device ${device}, ${rule}`, { cause: error });
    }
  }
}
