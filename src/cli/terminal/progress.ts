/** Progress over steps: a bar for a terminal, a line a step for logs and pipes. */

// @ts-types="@types/cli-progress"
import { SingleBar } from "cli-progress";

/** Tells of steps as they are done. */
export interface Progress {
  /** `done` of `total` steps are done; `detail` says something of the last. */
  step(done: number, total: number, detail?: string): void;
  /** What is going on between steps. Only a bar shows it, after the first step. */
  note(detail: string): void;
  /** Leaves the terminal clean, whether all steps are done or not. Calling it twice is harmless. */
  stop(): void;
}

/** A bar on a terminal, redrawn in place. */
export class BarProgress implements Progress {
  readonly #bar: SingleBar;

  constructor(stream: NodeJS.WritableStream, title: string) {
    this.#bar = new SingleBar({
      stream,
      format: `${title} {bar} {value}/{total} {duration_formatted} {detail}`,
      barCompleteChar: "█",
      barIncompleteChar: "░",
      barsize: 30,
      hideCursor: true,
      clearOnComplete: true,
    });
  }

  step(done: number, total: number, detail = ""): void {
    if (!this.#bar.isActive) this.#bar.start(total, done, { detail });
    this.#bar.update(done, { detail });
  }

  note(detail: string): void {
    this.#bar.update({ detail });
  }

  stop(): void {
    this.#bar.stop();
  }
}

/** One line a step. */
export class LineProgress implements Progress {
  constructor(
    readonly write: (line: string) => void,
    readonly title: string,
  ) {}

  step(done: number, total: number, detail = ""): void {
    this.write(`${this.title} ${done}/${total} ${detail}`.trimEnd());
  }

  note(_detail: string): void {}

  stop(): void {}
}
