/** Formats a line of progress: the work, the number of finished steps, the time left, and the last step. */

import { formatSeconds } from "../../report/format.ts";

/** The progress of some work. */
export interface ProgressState {
  readonly title: string;
  /** The numbers of finished steps and of all steps. */
  readonly done: number;
  readonly total: number;
  /** Describes the last finished step. */
  readonly detail?: string;
  /** The seconds until the end, if they are known. */
  readonly secondsLeft?: number;
}

/** Returns the line, such as `pruning 6/24 (about 12 s left) model.layers.0.fc2.weight relative error 0.1203`. */
export function progressLine({ title, done, total, detail, secondsLeft }: ProgressState): string {
  return [title, `${done}/${total}`, timeLeft(secondsLeft), detail].filter(Boolean).join(" ");
}

/** Returns `(about 12 s left)`, or an empty text if the time is not known. */
export function timeLeft(seconds: number | undefined): string {
  if (seconds === undefined) return "";
  const whole = Math.max(1, Math.round(seconds)); // a fraction of a second would claim more than is known
  return `(about ${whole < 10 ? `${whole} s` : formatSeconds(whole)} left)`;
}
