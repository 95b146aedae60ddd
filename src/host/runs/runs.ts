/**
 * The runs of a host, which prune whole models. Each run has a folder of its own. One run works at a time, as a child process that runs
 * `pare prune`. The others wait in the order of their submission. A host that starts again continues them.
 */

import { messageOf } from "../../base/errors.ts";
import { InUseError } from "../../base/files/file_error.ts";
import { digestBytes } from "../../base/files/chunks.ts";
import type { ReadableFile, WorkFileSystem } from "../../base/files/file_system.ts";
import { LOCK_FILE } from "../../base/files/whole_file.ts";
import { hasEnded } from "../../protocol/job_state.ts";
import { type Run, runArguments, type RunRequest } from "../../protocol/resources/runs.ts";
import { invalidParameter, Refusal } from "../../protocol/refusal.ts";
import type { LogEntry } from "../metrics.ts";
import { findModel, type MeasureHubModel } from "./find_model.ts";
import { runCommand, type StartCommand } from "./run_command.ts";
import { RunFiles, type RunRecord } from "./run_files.ts";

/** The most runs of a host, with those that have ended. Clients delete the runs that they do not need any more. */
export const MAX_RUNS = 64;

/** The disk space that is counted for a run until it ends: the result, and its unfinished weights in up to twice their bytes. */
const WORK_FACTOR = 3;

export interface RunsOptions {
  readonly fs: WorkFileSystem;
  /** The folder of the runs, which is created if necessary. No other host may use it. */
  readonly folder: string;
  /** The most bytes that all runs may take. */
  readonly budgetBytes: number;
  /** The operator's folder of models. @default models come from the hub only */
  readonly models?: string;
  /** The values of the member `for`. */
  readonly formats: readonly string[];
  readonly start: StartCommand;
  readonly measureHubModel: MeasureHubModel;
  /** Returns the free bytes on the disk of the folder. */
  readonly freeBytes: () => Promise<number>;
  readonly log: (entry: LogEntry) => void;
}

interface OpenRun {
  readonly record: RunRecord;
  readonly files: RunFiles;
  /** Resolves when the run changes. */
  change: PromiseWithResolvers<void>;
  /** Stops the command, while it works. */
  work?: AbortController;
}

export class Runs implements AsyncDisposable {
  readonly #runs = new Map<string, OpenRun>();
  readonly #options: RunsOptions;
  readonly #lock: AsyncDisposable;
  /** The end of the last submission. Submissions run one after the other, so that each sees the bytes of the earlier ones. */
  #last: Promise<unknown> = Promise.resolve();
  #working: Promise<void> | undefined;
  #isClosed = false;

  private constructor(options: RunsOptions, lock: AsyncDisposable) {
    this.#options = options;
    this.#lock = lock;
  }

  /** @throws {InUseError} if another host uses the folder. @throws {FileError} {ModelError} if it cannot be read or written */
  static async open(options: RunsOptions): Promise<Runs> {
    const { fs, folder } = options;
    await fs.makeFolder(folder, 0o700);
    const lock = await fs.lock(`${folder}/${LOCK_FILE}`);
    if (!lock) throw new InUseError(`${folder}: another host uses this folder`);
    const runs = new Runs(options, lock), found: OpenRun[] = [];
    for (const name of await fs.folders(folder)) {
      if (!/^[0-9a-f]{32}$/.test(name)) continue;
      const files = new RunFiles(fs, `${folder}/${name}`), record = await files.read();
      if (record) found.push({ record, files, change: Promise.withResolvers() });
      else await fs.removeFolder(files.folder);
    }
    found.sort((a, b) => a.record.run.created < b.record.run.created ? -1 : 1);
    for (const run of found) runs.#runs.set(run.record.run.id, run);
    runs.#startWork();
    return runs;
  }

  /** The values of the member `for`. */
  get formats(): readonly string[] {
    return this.#options.formats;
  }

  /**
   * Submits a run. The same request with the same key is the same run.
   * @param key the idempotency key. @default every request is another run
   * @throws {Refusal} `idempotency_conflict`, `invalid_parameter`, `busy`, `too_large`, or as `findModel`
   */
  submit(owner: string, request: RunRequest, key: string = crypto.randomUUID()): Promise<Run> {
    const submission = this.#last.catch(() => {}).then(() => this.#submit(owner, request, key));
    this.#last = submission;
    return submission;
  }

  async #submit(owner: string, { calibration, ...request }: RunRequest, key: string): Promise<Run> {
    const { fs, folder, formats, models, measureHubModel } = this.#options;
    const id = digestBytes(JSON.stringify([owner, key])).slice(0, 32);
    const digest = digestBytes(JSON.stringify([request, calibration]));
    const found = this.#runs.get(id);
    if (found?.record.digest === digest) return found.record.run;
    if (found) throw new Refusal("idempotency_conflict", "the idempotency key was used for another run");
    if (this.#isClosed) throw new Refusal("shutting_down", "the host is shutting down", { retryAfter: 10 });
    if (request.for !== undefined && !formats.includes(request.for)) {
      throw invalidParameter("for", `must be one of ${formats.join(", ")}, got ${request.for}`);
    }
    const { model, bytes, downloadedBytes } = await findModel(fs, models, request.model, measureHubModel);
    const needed = WORK_FACTOR * bytes + downloadedBytes + (calibration?.length ?? 0);
    await this.#requireRoom(request.model, needed);
    const run: Run = {
      id,
      model: request.model,
      options: runArguments(request),
      state: "queued",
      created: new Date().toISOString(),
      ...{ plan: null, progress: null, result: null, error: null },
    };
    const files = new RunFiles(fs, `${folder}/${id}`);
    const record = { owner, digest, request, model, bytes: needed, run };
    try {
      await files.create(calibration);
      await files.write(record); // the last file, so that a run with a record is complete
    } catch (error) {
      await fs.removeFolder(files.folder);
      throw new Refusal("busy", `the run cannot be stored: ${this.#publicText(error)}`, { cause: error });
    }
    this.#runs.set(id, { record, files, change: Promise.withResolvers() });
    this.#startWork();
    return run;
  }

  /** @throws {Refusal} `too_large` if the run never fits, and `busy` if it does not fit beside the others */
  async #requireRoom(model: string, needed: number): Promise<void> {
    const { budgetBytes, freeBytes } = this.#options, limit = { members: { limit: budgetBytes } };
    const sentence = `a run of ${model} needs up to ${needed} bytes of disk`;
    if (needed > budgetBytes) {
      throw new Refusal("too_large", `${sentence}, and the runs of this host may take ${budgetBytes}`, limit);
    }
    const used = [...this.#runs.values()].reduce((sum, { record }) => sum + record.bytes, 0);
    const advice = "delete runs that have ended, or wait";
    if (this.#runs.size >= MAX_RUNS) {
      throw new Refusal("busy", `the host has ${MAX_RUNS} runs, the most it stores: ${advice}`, {
        retryAfter: 60,
      });
    }
    const free = Math.min(budgetBytes - used, await freeBytes());
    if (needed <= free) return;
    throw new Refusal("busy", `${sentence}, and ${free} are free: ${advice}`, { retryAfter: 60 });
  }

  /** @throws {Refusal} `not_found`, also for a run of another client */
  #require(owner: string, id: string): OpenRun {
    const run = this.#runs.get(id);
    if (run?.record.owner === owner) return run;
    throw new Refusal("not_found", `there is no run ${id}`);
  }

  /** Returns the current state of a run. @throws {Refusal} `not_found` */
  read(owner: string, id: string): Run {
    return this.#require(owner, id).record.run;
  }

  /** Yields the run now and after each change, until it has ended. @throws {Refusal} `not_found` */
  follow(owner: string, id: string): AsyncGenerator<Run, void, void> {
    const open = this.#require(owner, id), isClosed = () => this.#isClosed;
    return (async function* () {
      for (;;) {
        const { change, record: { run } } = open;
        yield run;
        if (hasEnded(run.state) || isClosed()) return;
        await change.promise;
      }
    })();
  }

  /** Opens a file of the result. @throws {Refusal} `not_found` */
  async openFile(owner: string, id: string, name: string): Promise<ReadableFile> {
    const { record: { run }, files } = this.#require(owner, id), { fs } = this.#options;
    if (run.result?.files.some((file) => file.name === name)) return await fs.open(`${files.result}/${name}`);
    throw new Refusal("not_found", `the run ${id} has no file ${name}; its state is ${run.state}`);
  }

  /** Stops a run, and deletes its files. @throws {Refusal} `not_found` */
  async delete(owner: string, id: string): Promise<void> {
    const open = this.#require(owner, id), { record: { run } } = open;
    this.#runs.delete(id);
    if (!hasEnded(run.state)) await this.#change(open, { state: "cancelled", progress: null });
    open.work?.abort(new Error("the run is deleted"));
    if (open.work) await this.#working;
    await this.#options.fs.removeFolder(open.files.folder);
  }

  /** Stops the command, and ends `follow`. The next host that opens the folder continues its run. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    for (const { work, change } of this.#runs.values()) {
      work?.abort(new Error("the host ends"));
      change.resolve();
    }
    await this.#last.catch(() => {});
    await this.#working;
    await this.#lock[Symbol.asyncDispose]();
  }

  #startWork(): void {
    const next = [...this.#runs.values()].find(({ record: { run } }) => !hasEnded(run.state));
    if (this.#working || this.#isClosed || !next) return;
    this.#working = this.#work(next).finally(() => {
      this.#working = undefined;
      this.#startWork();
    });
  }

  async #work(open: OpenRun): Promise<void> {
    const { record, files } = open, { start, log } = this.#options, work = open.work = new AbortController();
    const onChange = (change: Partial<Run>) => this.#change(open, change);
    try {
      await onChange({ state: "running" });
      await runCommand(record, files, start, onChange, work.signal);
      const result = await files.readResult();
      await files.removeUnneeded(false);
      record.bytes = result.files.reduce((sum, { bytes }) => sum + bytes, 0);
      await onChange({ state: "done", progress: null, result });
    } catch (error) {
      if (work.signal.aborted) return;
      const text = this.#publicText(error);
      log({ event: "run failed", run: record.run.id, model: record.run.model, fault: text });
      await files.removeUnneeded(true).catch(() => {});
      record.bytes = 0;
      await onChange({ state: "failed", progress: null, error: text }).catch(() => {});
    } finally {
      open.work = undefined;
    }
  }

  /** Changes a run for its readers, and in its record unless only the progress has changed. */
  async #change(open: OpenRun, change: Partial<Run>): Promise<void> {
    const { record, files } = open, { change: { resolve } } = open;
    if (hasEnded(record.run.state)) return;
    record.run = { ...record.run, ...change };
    open.change = Promise.withResolvers();
    resolve();
    if (this.#runs.has(record.run.id) && Object.keys(change).some((name) => name !== "progress")) {
      await files.write(record);
    }
  }

  /** Returns the message of an error without the paths of this host. */
  #publicText(error: unknown): string {
    const { folder, models } = this.#options;
    return [folder, models].filter((path) => path !== undefined).reduce(
      (shown, path) => shown.replaceAll(`${path}/`, ""),
      messageOf(error),
    );
  }
}
