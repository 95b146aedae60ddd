/** Formats a line of progress: the work, the number of finished steps, the time left, and the last step. */

import { formatSeconds } from "../../report/format.ts";

/** The progress of some work. */
export interface ProgressState {
  readonly title: string;
  /** The numbers of finished steps and of all steps. */
  readonly done: number;
  readonly total: number;
  /** Describes the last finished step. */
  readonly detail: string;
  /** The seconds until the end, if they are known. */
  readonly secondsLeft?: number;
}

/** Returns the line, such as `pruning 6/24, about 12 s left: model.layers.0.fc2.weight relative error 0.1203`. */
export function progressLine({ title, done, total, detail, secondsLeft }: ProgressState): string {
  const left = timeLeft(secondsLeft);
  return `${title} ${done}/${total}${left && `, ${left}`}${detail && (left ? `: ${detail}` : ` ${detail}`)}`;
}

/** Returns `about 12 s left`, or an empty text if the time is not known. */
export function timeLeft(seconds: number | undefined): string {
  return seconds === undefined ? "" : `about ${formatSeconds(Math.max(seconds, 1))} left`;
}
