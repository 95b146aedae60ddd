/** Shows one job live, with one row per layer or block. The job can be cancelled, and submitted again without its results. */

import type { Job, JobBlockRequest, JobLayerRequest, Jobs, LayerState } from "../../../client/mod.ts";
import { byId, setText } from "../dom.ts";
import { shortId } from "../format.ts";
import { type JobEvent, jobEvents } from "./job_events.ts";
import { hasEnded } from "../../../protocol/job_state.ts";
import { showState } from "./job_table.ts";
import { LayerTable } from "./layer_table.ts";
import { showProblem } from "../problem.ts";

export interface JobViewOptions {
  /** Returns the client of the edge. */
  readonly jobs: () => Jobs;
  /** Called after the job was cancelled, and with the id of a job that was submitted. */
  readonly onChange: (submitted?: string) => void;
}

export class JobView {
  readonly #section = byId("job", HTMLElement);
  readonly #problem = byId("job-problem", HTMLElement);
  readonly #again = byId("again", HTMLButtonElement);
  readonly #cancel = byId("cancel", HTMLButtonElement);
  readonly #table = new LayerTable(byId("layers", HTMLTableElement));
  #layers = new Map<string, LayerState>();
  #job: Job | undefined;
  #following: AbortController | undefined;

  constructor(private readonly options: JobViewOptions) {
    this.#cancel.addEventListener("click", () => void this.#act(() => this.#cancelJob()));
    this.#again.addEventListener("click", () => void this.#act(() => this.#submitAgain()));
  }

  /** Follows the job with this id until it has ended, or until the next call. Without an id, hides the section. */
  async follow(id: string | undefined): Promise<void> {
    this.#following?.abort();
    this.#section.hidden = id === undefined;
    this.#layers.clear();
    this.#job = undefined;
    this.#table.show([]);
    showProblem(this.#problem, undefined);
    if (id === undefined) return;
    setText(byId("job-title", HTMLElement), `Job ${shortId(id)}`);
    this.#showHead();
    this.#showConnection("connecting");
    const following = this.#following = new AbortController();
    try {
      for await (const event of jobEvents(id, following.signal)) {
        if (following.signal.aborted) return;
        this.#show(event);
      }
      this.#showConnection("ended");
    } catch (error) {
      if (following.signal.aborted) return;
      this.#showConnection("not connected");
      showProblem(this.#problem, error);
    }
  }

  #show(event: JobEvent): void {
    if (event.type === "connection") return this.#showConnection(event.isOpen ? "live" : "connecting again");
    if (event.type === "job") {
      this.#job = event.job;
      const { id, name, layers } = event.job;
      setText(byId("job-title", HTMLElement), `Job ${name ?? shortId(id)}`);
      for (const layer of layers) this.#layers.set(layer.name, layer);
      this.#table.show(layers);
    } else {
      this.#layers.set(event.layer.name, event.layer);
      this.#table.update(event.layer);
    }
    this.#showHead();
  }

  #showHead(): void {
    const layers = [...this.#layers.values()], ended = layers.filter(({ state }) => hasEnded(state)).length;
    const isRunning = ended < layers.length, unsolved = this.#unsolved();
    const state = !isRunning && this.#job
      ? this.#job.state
      : layers.some(({ state }) => state !== "queued")
      ? "running"
      : "queued";
    showState(byId("job-state", HTMLElement), state);
    byId("job-progress", HTMLProgressElement).value = ended / Math.max(1, layers.length);
    const item = this.#job?.model ? "block" : "layer";
    setText(byId("job-count", HTMLElement), `${ended} of ${layers.length} ${item}s`);
    this.#cancel.hidden = !isRunning || layers.length === 0;
    this.#again.hidden = isRunning || unsolved.length === 0;
    setText(
      this.#again,
      `Submit ${unsolved.length} ${isCancelled(unsolved) ? "unfinished" : "failed"} ${
        unsolved.length === 1 ? item : `${item}s`
      } again`,
    );
  }

  #showConnection(text: string): void {
    setText(byId("job-link", HTMLElement), text);
  }

  #unsolved(): LayerState[] {
    return [...this.#layers.values()].filter(({ state }) => state === "failed" || state === "cancelled");
  }

  async #cancelJob(): Promise<void> {
    if (!this.#job) return;
    await this.options.jobs().cancel(this.#job.id);
    this.options.onChange();
  }

  async #submitAgain(): Promise<void> {
    if (!this.#job) return;
    const { name, id, model } = this.#job;
    const request = model
      ? { ...model, blocks: [...this.#layers.values()].map(blockRequestOf) }
      : this.#unsolved().map(requestOf);
    const job = await this.options.jobs().submit(request, { name: `${name ?? shortId(id)}, again` });
    this.options.onChange(job.id);
  }

  async #act(action: () => Promise<void>): Promise<void> {
    this.#again.disabled = this.#cancel.disabled = true;
    try {
      await action();
      showProblem(this.#problem, undefined);
    } catch (error) {
      showProblem(this.#problem, error);
    } finally {
      this.#again.disabled = this.#cancel.disabled = false;
    }
  }
}

function isCancelled(layers: readonly LayerState[]): boolean {
  return layers.some(({ state }) => state === "cancelled");
}

/** Returns the request that created a layer of a job. */
function requestOf({ name, weight, hessian, parameters }: LayerState): JobLayerRequest {
  return { name, weight, hessian: hessian ?? undefined, parameters };
}

/** Returns the request that created a block of a job, with its result if there is one. */
function blockRequestOf({ name, weight, parameters, result }: LayerState): JobBlockRequest {
  return { name, weight, parameters, result: result ?? undefined };
}
