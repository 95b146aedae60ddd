/**
 * One attempt at one layer: finds a host, gives it the layer as a task with signed URLs, waits for the outcome and records it.
 * What may pass is thrown, so that the Workflow tries again; what may not is recorded as the layer's error.
 */

import type { JobLayer, TaskAnswer, TaskRequest } from "../../protocol/jobs.ts";
import type { Digest } from "../../protocol/digest.ts";
import type { Remote } from "../hosts/durable_object.ts";
import type { HostsMethods } from "../hosts/hosts_methods.ts";
import type { ChosenHost } from "../hosts/registry.ts";
import {
  askHost,
  endTask,
  HostBusyError,
  type HostCalls,
  HostFailedError,
  TaskRefusedError,
} from "./host_client.ts";
import type { JobMethods } from "./job_methods.ts";

/** The blobs, as an attempt needs them: no tensor passes through it. */
export interface JobBlobs {
  /** A signed URL to read a blob by; undefined where there is no such blob. */
  readUrl(digest: Digest): Promise<string | undefined>;
  /** A fresh object to write an answer to. */
  writeUrl(): Promise<{ key: string; url: string }>;
  /** Makes the object that a host wrote, and hashed as it wrote, the blob of `digest`; false where it is not there whole. */
  keep(key: string, digest: Digest, bytes: number): Promise<boolean>;
}

/** What attempts are made with. */
export interface AttemptTools {
  readonly job: string;
  readonly record: Remote<JobMethods>;
  readonly hosts: Remote<HostsMethods>;
  readonly blobs: JobBlobs;
  readonly calls: HostCalls;
  readonly sleep: (milliseconds: number) => Promise<void>;
  readonly now: () => number;
  /** Longest that a layer waits for a host to be alive and to have a place. */
  readonly hostWaitMilliseconds: number;
}

/** Longest that one host may take for one layer, its operands' way included; then it is tried elsewhere. */
const ATTEMPT_MILLISECONDS = 30 * 60_000;

/** A first look at hosts or at a task again comes soon, later ones less often. */
const FIRST_PAUSE = 500, LONGEST_PAUSE = 10_000;

/** @throws {HostFailedError} the attempt is worth another */
export async function attemptLayer(position: number, tools: AttemptTools): Promise<void> {
  const { record, hosts } = tools;
  const attempt = await record.begin(position);
  if (!attempt) return;
  const id = `${tools.job}.${position}.${attempt.number}`;
  const deadline = tools.now() + tools.hostWaitMilliseconds;
  try {
    for (let pause = FIRST_PAUSE;; pause = longer(pause)) {
      const host = await hosts.choose(id, attempt.layer.hessian);
      if (host) {
        try {
          return await solveAt(host, id, position, attempt.layer, tools);
        } catch (error) {
          if (!(error instanceof HostBusyError) || tools.now() > deadline) throw error;
        }
      } else if (tools.now() > deadline) {
        const detail = `no GPU host was alive for ${tools.hostWaitMilliseconds / 1000} s`;
        return await record.settle(position, { error: { code: "no_device", detail } });
      }
      if (!await record.wanted(position)) return;
      await tools.sleep(pause);
    }
  } catch (error) {
    if (error instanceof TaskRefusedError) {
      return await record.settle(position, { error: { code: error.code, detail: error.message } });
    }
    throw error;
  } finally {
    await hosts.release(id);
  }
}

async function solveAt(
  host: ChosenHost,
  id: string,
  position: number,
  layer: JobLayer,
  tools: AttemptTools,
): Promise<void> {
  const { blobs, record, calls } = tools;
  const target = await blobs.writeUrl();
  const task: TaskRequest = {
    id,
    weight: await source(blobs, layer.weight),
    hessian: layer.hessian === undefined ? undefined : await source(blobs, layer.hessian),
    result: { url: target.url },
    parameters: layer.parameters,
  };
  const answer = await follow(host, task, position, tools);
  if (!answer) return await endTask(calls, host, id);
  const { report, result } = answer;
  if (!await blobs.keep(target.key, result.sha256, result.bytes)) {
    throw new HostFailedError(`host ${host.url}: wrote no ${result.bytes} bytes to where they belong`);
  }
  await record.settle(position, { report, result: result.sha256 });
}

/** The task's end; undefined where nobody wants it any longer. */
async function follow(
  host: ChosenHost,
  task: TaskRequest,
  position: number,
  { calls, record, hosts, sleep, now }: AttemptTools,
): Promise<Extract<TaskAnswer, { state: "done" }> | undefined> {
  const deadline = now() + ATTEMPT_MILLISECONDS;
  for (let pause = FIRST_PAUSE;; pause = longer(pause)) {
    let answer: TaskAnswer;
    try {
      answer = await askHost(calls, host, task);
    } catch (error) {
      // It is trusted again once it tells of itself.
      if (error instanceof HostFailedError) await hosts.leave(host.id);
      throw error;
    }
    if (answer.state === "done") return answer;
    if (!await record.wanted(position)) return undefined;
    if (now() > deadline) {
      await endTask(calls, host, task.id);
      throw new HostFailedError(`host ${host.url}: took more than ${ATTEMPT_MILLISECONDS / 60_000} minutes`);
    }
    await sleep(pause);
  }
}

async function source(blobs: JobBlobs, digest: Digest): Promise<TaskRequest["weight"]> {
  const url = await blobs.readUrl(digest);
  if (url === undefined) throw new TaskRefusedError("not_found", `blob ${digest} is not stored`);
  return { url, sha256: digest };
}

function longer(pause: number): number {
  return Math.min(1.5 * pause, LONGEST_PAUSE);
}
